"""The dense CRF of DeepLab by its definition, in O(N^2), for small maps."""

import torch


def dense_crf(
    logits,
    image,
    w1,
    sigma_alpha,
    sigma_beta,
    w2=3.0,
    sigma_gamma=3.0,
    iterations=10,
):
    """Mean field Q (C, H, W), the logits refined by positions and colours.

    `logits` are (C, H, W); `image` is (H, W, 3) of levels 0 to 255. `w1`
    weighs the kernel of position (width `sigma_alpha`, pixels) and colour
    (`sigma_beta`, levels), `w2` that of position alone. Differentiable.
    """
    axes = [
        torch.arange(side, dtype=logits.dtype, device=logits.device)
        for side in image.shape[:2]
    ]
    places = torch.cartesian_prod(*axes)  # (H W, 2)
    colours = image.flatten(0, 1).to(logits)
    both = torch.cat([places / sigma_alpha, colours / sigma_beta], 1)
    kernel = w1 * gaussian(both) + w2 * gaussian(places / sigma_gamma)
    log_p = logits.flatten(1).log_softmax(0)  # (C, H W)
    q = log_p.exp()
    for _ in range(iterations):
        q = (log_p + q @ kernel).softmax(0)
    return q.view_as(logits)


def gaussian(features):
    """Normalised kernel of all pairs of points (N, d): (N, N), symmetric."""
    exact = "donot_use_mm_for_euclid_dist"  # the other way loses digits
    distance = torch.cdist(features, features, compute_mode=exact)
    kernel = (distance.square() / -2).exp()
    scale = kernel.sum(1).rsqrt()
    return scale[:, None] * kernel * scale


if __name__ == "__main__":
    image = torch.zeros(24, 24, 3)
    image[:, 12:] = 200.0  # dark to the left, bright to the right
    logits = torch.stack([image[..., 0] < 100, image[..., 0] > 100]).float()
    logits[:, 5, 5] = torch.tensor([0.0, 1.0])  # one pixel is wrong
    q = dense_crf(logits, image, w1=4.0, sigma_alpha=30.0, sigma_beta=5.0)
    print(logits.argmax(0)[5, 5].item(), q.argmax(0)[5, 5].item())  # 1 0
