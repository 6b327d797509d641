"""Signal processing without files: filters, spectra, hole filling, band replication, limiting."""
