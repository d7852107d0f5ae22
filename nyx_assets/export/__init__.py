"""NyxQA as folders that other tools read."""
