"""Train a recipe on one process or many; go on where a killed run was.

All that is here is the same on one process as on many: a batch is dealt out,
each process computes its share of the loss of the whole batch, and the sum
of the gradients is that of the batch.
"""

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from atrous.recipes import checkpoint, schedules
from atrous.recipes.batches import (
    Deal,
    Order,
    Views,
    class_shares,
    loader,
    part_count,
)
from atrous.recipes.building import build, count, start_
from atrous.recipes.files import write_whole
from atrous.recipes.logbook import Logbook, strip
from atrous.recipes.normalisation import freeze_, share_
from atrous.recipes.objectives import Supervised, class_weights
from atrous.recipes.processes import Process, seed_step_
from atrous.recipes.recipe import Recipe
from atrous.recipes.remarks import remarks
from atrous.recipes.settings import PRECISIONS, Settings
from atrous.recipes.stopping import Asked

RECIPE, SHARES = "recipe.json", "class_shares.json"
SAMPLES = 4  # pictures of which the predictions are shown


class Run:
    """A recipe in training, in one process of one or many.

    Args:
        recipe: What is trained.
        dataset: Of pairs (picture, labels); the recipe's split of its data.
        folder: Where states, logs and samples lie; all processes see it.
        settings: How it is run.
        process: Which process this is.
        init: File of the weights that the recipe starts from.
        from_scratch: Start from fresh weights instead.
        resume: State to go on from; None for the last one in `folder`.

    Raises:
        ValueError: If weights are missing, do not fit or are not whole; if a
            state is of another recipe, seed or data; if there are more
            processes than pictures in a batch.
        FileNotFoundError: If a file is missing.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        folder: Path,
        settings: Settings,
        process: Process,
        *,
        init: str | Path | None = None,
        from_scratch: bool = False,
        resume: str | Path | None = None,
    ):
        self.recipe, self.dataset, self.folder = recipe, dataset, Path(folder)
        self.settings, self.process = settings, process
        self.folder.mkdir(parents=True, exist_ok=True)
        if recipe.batch < process.count:
            raise ValueError(
                f"batch={recipe.batch}: {process.count} processes have less "
                "than a picture each; start fewer"
            )
        if settings.deterministic:
            torch.use_deterministic_algorithms(True)
        views = recipe.augmentations
        self.order = Order(
            items=len(dataset),
            batch=recipe.batch,
            passes=max(1, len(views)) * recipe.repeats,
            last=recipe.last_batch,
            seed=settings.seed,
        )
        epochs = recipe.unit == "epochs"
        self.per_unit = self.order.per_epoch() if epochs else 1
        self.total = recipe.length * self.per_unit
        sized = views and all(view.crop or view.size for view in views)
        self.most = settings.per_device or (recipe.batch if sized else 1)
        parts = part_count(recipe.batch, process.count, self.most)
        self.share, self.before = (process.count, parts), None
        file = Path(resume) if resume else checkpoint.find(self.folder)
        process.agree(file is not None, "saved states in the folder")
        state = checkpoint.load(file) if file else None
        self.done = state["iteration"] if state else 0
        process.agree(self.done, "iterations done")
        seed_step_(settings.seed, 0, 0)  # fresh weights, alike everywhere
        network = build(recipe.network)
        if state:
            checkpoint.check(state, file, recipe, settings.seed, len(dataset))
            self.before = state.get("share")  # older ones do not say
            self.origin = f"goes on from {file} at iteration {self.done}"
        else:
            self.origin = start_(
                network, recipe, file=init, from_scratch=from_scratch
            )
        self._place(network, state)
        self._equip(state)

    def _place(self, network: nn.Module, state: dict | None) -> None:
        """Put the network on the device, with its weights and its norms."""
        settings, device = self.settings, self.process.device
        wide = settings.precision == "float64"
        self.dtype = torch.float64 if wide else torch.float32
        last = settings.channels_last
        self.layout = torch.channels_last if last else torch.contiguous_format
        network = network.to(device, self.dtype, memory_format=self.layout)
        if state:
            network.load_state_dict(state["model"])
        if self.recipe.normalisation == "frozen":
            freeze_(network)
        elif self.process.count > 1:
            network = share_(network, device)
        self.network = network

    def _equip(self, state: dict | None) -> None:
        """Make what trains the network, as it was when it was saved."""
        recipe, device = self.recipe, self.process.device
        self.optimizer = schedules.optimizer(self.network, recipe.optimiser)
        self.half = PRECISIONS[self.settings.precision]
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=self.half == torch.float16
        )
        if state:
            self.optimizer.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        self.supervised = Supervised(
            self.network, recipe.loss, self._class_weights()
        ).to(device)
        self.wrapped = self.supervised
        if self.process.count > 1:
            self.wrapped = DistributedDataParallel(
                self.supervised,
                device_ids=[device.index] if device.type == "cuda" else None,
                forward_sync_buffers=False,  # they are alike without it
                gradient_as_bucket_view=True,
            )

    def _class_weights(self) -> Tensor | None:
        """Weights of the classes by their shares, which are counted once."""
        offset, file = self.recipe.loss.class_weights, self.folder / SHARES
        if not offset:
            return None
        known = file.exists()
        self.process.agree(known, f"{SHARES} in the folder")
        if known:
            # In the type that they were counted in, so that nothing moves.
            shares = torch.tensor(
                json.loads(file.read_text()), dtype=torch.float64
            )
        else:
            shares = class_shares(
                self.dataset,
                self.recipe,
                self.process,
                workers=self.settings.workers,
            )
            self._write(file, json.dumps(shares.tolist()))
        return class_weights(shares.to(self.dtype), offset)

    def train(self) -> None:
        """Run all iterations that are not done yet.

        Raises:
            FloatingPointError: If the loss is not finite; the states saved
                before stay as they are.
            OSError: If a state or a line cannot be written, or torchrun has
                ended.
            KeyboardInterrupt: If Ctrl-C or SIGTERM asks for an end; the step
                is finished and its state saved before.
            ValueError: From a picture or a label map, with its file.
            FileNotFoundError: Likewise.
        """
        stop = min(self.settings.stop_after or self.total, self.total)
        self._write(self.folder / RECIPE, self.recipe.to_json())
        self.book = Logbook(
            self.folder if self.process.rank == 0 else None,
            done=self.done,
            total=self.total,
            tensorboard=self.settings.tensorboard,
        )
        with Asked() as self.asked, contextlib.closing(self.book):
            self._introduce()
            self._mark()
            for parts in self._batches(stop):
                self.recent += self.step(parts)
                self._attend(stop)

    def step(self, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        """One step on this process's parts of a batch; its share of the loss.

        The last part carries the gradients to the other processes.
        """
        self.network.train()
        if self.recipe.normalisation == "frozen":
            freeze_(self.network)
        seed_step_(self.settings.seed, 1 + self.done, self.process.rank)
        parts = [self._moved(*part) for part in parts]
        norms = sum(self.supervised.norms(labels) for _, labels in parts)
        norms = self.process.sum(norms.to(self.process.device)).clamp(min=1)
        time = self.done // self.per_unit
        share = schedules.factor(
            self.recipe.schedule, time, self.recipe.length
        )
        schedules.set_rates_(self.optimizer, share)
        loss = torch.zeros((), device=self.process.device, dtype=torch.float64)
        for number, (pictures, labels) in enumerate(parts, 1):
            last = number == len(parts)
            with contextlib.ExitStack() as stack:
                if self.process.count > 1 and not last:
                    stack.enter_context(self.wrapped.no_sync())
                with self._autocast():
                    value = self.wrapped(pictures, labels, norms)
                # The wrapper takes the mean over processes, not their sum.
                self.scaler.scale(value * self.process.count).backward()
            loss += value.detach()
        self._descend()
        self.done += 1
        return loss

    def _descend(self) -> None:
        """Move the weights against the gradient, which is then gone."""
        clip = self.recipe.optimiser.clip
        if clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_value_(self.network.parameters(), clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _batches(self, stop: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """This process's parts of each batch to come."""
        share = {"processes": self.process.count, "most": self.most}
        deal = Deal(
            self.order,
            range(self.done, stop),
            rank=self.process.rank,
            **share,
        )
        source = iter(
            loader(
                Views(self.dataset, self.recipe, self.settings.seed),
                deal,
                workers=self.settings.workers,
                pinned=self.process.device.type == "cuda",
            )
        )
        for number in deal.numbers:
            size = self.order.size(number)
            yield [next(source) for _ in range(part_count(size, **share))]

    def _moved(self, pictures: Tensor, labels: Tensor) -> tuple:
        """A part on the device, as the network takes it."""
        device = self.process.device
        pictures = pictures.to(
            device, self.dtype, non_blocking=True, memory_format=self.layout
        )
        return pictures, labels.to(device, non_blocking=True)

    def _autocast(self):
        kind = self.process.device.type
        return torch.autocast(kind, self.half, enabled=self.half is not None)

    def _attend(self, stop: int) -> None:
        """Log, save and show what is due after an iteration."""
        settings, last = self.settings, self.done == stop
        self.process.check_parent()
        saves = last or self.done % settings.save_every == 0
        due = saves or self.done % settings.log_every == 0
        asked = self._is_asked(due)
        saves, due = saves or asked, due or asked
        if due:
            self._report()
        if saves and self.process.rank == 0:
            checkpoint.save(self.folder, self.state())
        every = settings.sample_every
        if every and (last or self.done % every == 0):
            self._show()
        if asked and not last:
            raise KeyboardInterrupt(
                f"at iteration {self.done}, whose state is saved; the same "
                "command goes on"
            )

    def _is_asked(self, due: bool) -> bool:
        """Whether any process was asked to end; several wait until it is due.

        They have to agree, and in each step that would take time.
        """
        asked = self.asked.by is not None
        if self.process.count == 1 or not due:
            return asked and self.process.count == 1
        found = torch.tensor(float(asked), device=self.process.device)
        return self.process.sum(found).item() > 0

    def state(self) -> dict:
        """All that is needed to go on, on any number of processes."""
        return {
            "iteration": self.done,
            "model": self.network.state_dict(),
            "optimiser": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "recipe": self.recipe.to_json(),
            "seed": self.settings.seed,
            "items": len(self.dataset),
            "share": self.share,
        }

    def _report(self) -> None:
        """Write the mean loss since the last report, and the speed."""
        loss = self.process.sum(self.recent).item() / (self.done - self.since)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss} in iterations {self.since + 1} to "
                f"{self.done}; the states saved before are kept"
            )
        seconds = time.perf_counter() - self.clock
        pictures = (self.done - self.since) * self.recipe.batch
        self.book.values(
            self.done,
            loss=loss,
            lr=self.optimizer.param_groups[0]["lr"],
            pictures_per_second=pictures / seconds,
        )
        self._mark()

    def _mark(self) -> None:
        """Begin to count anew."""
        self.since, self.clock = self.done, time.perf_counter()
        self.recent = torch.zeros(
            (), device=self.process.device, dtype=torch.float64
        )

    def _introduce(self) -> None:
        """Say what is run, on what, and from where."""
        process, settings = self.process, self.settings
        parameters, trained = count(self.network)
        for text in (
            f"{self.recipe.name}: {self.recipe.paper}",
            self.origin,
            f"{parameters:,} parameters, {trained:,} of them trained; "
            f"{len(self.dataset):,} pictures; {self.total:,} iterations of "
            f"{self.recipe.batch}, on {process.count} processes in "
            f"{self.share[1]} parts each; {process.device.type}, "
            f"{settings.precision}",
            *remarks(self.network, self.recipe, self.share, self.before),
        ):
            self.book.line(text)

    @torch.no_grad()
    def _show(self) -> None:
        """Write the predictions of some pictures, whole and not augmented."""
        if self.process.rank:
            return
        self.network.eval()
        for index in range(min(SAMPLES, len(self.dataset))):
            picture, labels = self.dataset[index]
            if labels.ndim != 2:
                return  # a class of a whole picture is no picture
            pictures, _ = self._moved(
                self.recipe.pixels(picture)[None], labels
            )
            with self._autocast():
                logits = self.network(pictures)[0]
            self.book.picture(
                self.done,
                f"item{index}",
                strip(picture, labels, logits, self.dataset.colours),
            )

    def _write(self, file: Path, text: str) -> None:
        """Write a small file, in one process."""
        if self.process.rank == 0:
            write_whole(file, text)
