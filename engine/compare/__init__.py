"""Comparing: variants with their song, and with an original where there is one."""
