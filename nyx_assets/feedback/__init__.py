"""What a VLM could really use of what was retrieved."""
