"""What protects people: masking, keys, sealed rows, consent, the audit log, receipts. Knows nothing of models."""
