"""What the pictures of chunks show, in words, for retrievers that read texts alone."""
