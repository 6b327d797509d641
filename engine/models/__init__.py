"""Neural networks behind a small interface. Nothing here is imported before a stage needs it."""
