"""Label a photograph from a few strokes, on features that stay fixed."""

import torch
import torch.nn.functional as F
from torch import nn


class Head(nn.Module):
    """Features (B, C, H, W) to scores (B, classes, H, W), at three rates."""

    def __init__(self, channels, classes, rates=(1, 3, 6)):
        super().__init__()
        self.reduce = nn.Conv2d(channels, 64, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(64, 32, 3, padding=r, dilation=r) for r in rates
        )
        self.classify = nn.Conv2d(32 * len(rates), classes, 1)

    def forward(self, x):
        """Scores, (B, classes, H, W)."""
        x = self.reduce(x).relu()
        maps = [branch(x).relu() for branch in self.branches]
        return self.classify(torch.cat(maps, 1))


def label_from_strokes(features, drawn, classes, steps=100):
    """Labels (H, W) of a whole photograph from strokes on it.

    `features` (1, C, h, w) are any trained network's, at any stride; `drawn`
    (H, W) holds a class where somebody drew, and 255 elsewhere.
    """
    count = torch.bincount(drawn[drawn != 255], minlength=classes)
    if not count.all():
        raise ValueError(f"drawn: strokes a class {count.tolist()}: no 0")
    std, mean = torch.std_mean(features, (2, 3), keepdim=True)
    x = (features - mean) / (std + 1e-5)
    head = Head(x.shape[1], classes).to(x)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    for _ in range(steps):
        scores = F.interpolate(head(x), drawn.shape, mode="bilinear")
        weight = (1 / count).to(x)  # rare classes count as much as others
        loss = F.cross_entropy(scores, drawn[None], weight, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scores[0].argmax(0)


if __name__ == "__main__":
    photo = torch.ones(1, 3, 64, 96)  # a dark object on a bright ground
    photo[..., 20:44, 30:66] = 0.2
    drawn = torch.full((64, 96), 255)
    drawn[32, 40:56], drawn[8, 10:80] = 1, 0  # a stroke on each
    labels = label_from_strokes(F.avg_pool2d(photo, 8), drawn, classes=2)
    print(labels[32, 48].item(), labels[60, 90].item())  # 1 0
