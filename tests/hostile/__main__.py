"""``python -m tests.hostile``."""

from tests.hostile.campaign import main

main()
