"""How the weights in :mod:`engine.models.restorer` were made: ``python -m training.make`` makes them again."""
