"""Measurements that are compared within one run; none of them is a test."""
