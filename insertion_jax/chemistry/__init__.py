"""Molecules: SMILES and SAFE tokens, fragments, and the metrics of generated ones."""
