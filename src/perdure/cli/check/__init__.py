"""What ``perdure check`` looks at: whether this code can read what is stored, before it is deployed."""
