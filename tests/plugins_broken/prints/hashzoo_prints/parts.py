from hashzoo import Trainer

print("hello from the target")


class Loud(Trainer):
    def fit(self, job):
        print("hello from the training")
        return job.towers()
