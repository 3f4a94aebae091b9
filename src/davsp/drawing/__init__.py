"""Requests that are given as texts alone, drawn into images in the ways in which benchmarks hide them."""
