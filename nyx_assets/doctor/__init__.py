"""`nyx doctor`: is everything that a run needs there and well?"""
