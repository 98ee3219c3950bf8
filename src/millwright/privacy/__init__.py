"""What protects people: masking, keys, sealed rows, consent, audit log, receipts. Knows nothing of models."""
