Trainer = 12
