"""purenn."""
