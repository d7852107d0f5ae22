"""The VLMs whose weights become the encoder: one file per backbone behind one Protocol."""
