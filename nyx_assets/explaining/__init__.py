"""`nyx explain`: from the id of anything to the page that it comes from, and to all that was made of it."""
