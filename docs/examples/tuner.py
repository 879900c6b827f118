from samstar_rl import load_task


class Ladder:
    """Try a few thresholds on each frame and keep the one that scores best."""

    name, searches = "ladder", True

    def __init__(self, task="particles", thresholds=(0.5, 0.6, 0.7, 0.8, 0.9)):
        static = load_task(task).static
        self.rungs = [static.replace(pred_iou_thresh=threshold) for threshold in thresholds]

    def reset(self):
        """Nothing to forget: each frame is tried anew."""

    def propose(self, context):
        return max(self.rungs, key=context.reward)
