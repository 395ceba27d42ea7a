"""What a report is about: a run of `adapt`, a run of the demo, or an adapter."""

import copy
import shlex
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.cell.cell import read_json
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.files import read_object
from gaincell.study.demo_steps import DemoSettings, PointPlan, Workbench
from gaincell.study.models import Load, Loaded, load_model
from gaincell.study.report_steps import AdaptedModel, Subject, model_identity
from gaincell.study.steps import Record
from gaincell.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def find_subject(run: str, base: str = "demo", load: Load = load_model) -> Subject:
    """What a user named.

    Args:
        run: a run folder of `gaincell adapt` or `gaincell demo`; or an adapter, by its shipped name or file.
        base: what the original is loaded by that a run of `adapt`, or an adapter, began with.
        load: gives a model and its tokenizer.

    Raises:
        InputError: neither a run folder nor an adapter; a run that is unfinished, or of another version.
    """
    from gaincell.models.adapter import adapter_names, is_adapter

    folder = Path(run)
    if is_adapter(run):
        return _adapter(run, base, load)
    if (folder / "results.json").is_file():
        if base != "demo":
            raise InputError(f"{folder} is of 'gaincell demo' and names its original itself; leave --base out.")
        return _demo_run(folder, load)
    if folder.is_dir():
        return _adapt_run(folder, base, load)
    shipped = ", ".join(adapter_names())
    raise InputError(f"'{run}' is neither a run folder nor a shipped adapter ({shipped}); check the path.")


def demo_subject(bench: Workbench, record: Record) -> Subject:
    """A finished run of the demo, whose models its workbench holds."""
    from gaincell.models.adapter import adapter_checksum
    from gaincell.report.curves import read_curve

    results, cost = record.data["results"], record.result("cost")
    adapted, curves = {}, []
    for plan in bench.settings.plans:
        folder = bench.model_folder(plan)
        config = GainCellConfig(**cost["design_points"][plan.name])
        if plan.adapter is not None:
            adapted[plan.name] = AdaptedModel(config, partial(bench.final, plan), adapter_checksum(plan.adapter))
        elif folder.is_dir():
            adapted[plan.name] = AdaptedModel(config, partial(bench.final, plan), model_identity(folder))
        curves.append(read_curve(folder.parent, plan.name))
    shape = next(iter(cost["estimates"].values()))["model"]
    base = _base_identity(record.data["settings"]["model"])
    return Subject(bench.out, lambda: bench.loaded, base, adapted, curves, results=results, shape=shape)


def _demo_run(folder: Path, load: Load) -> Subject:
    path = folder / "results.json"
    try:
        found = read_object(path, "run the demo again")
        made_by, settings = found["gaincell"], dict(found["settings"])
        model = settings.pop("model")
        plans = tuple(PointPlan(**{**plan, "stages": tuple(plan["stages"])}) for plan in settings.pop("plans"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not of a run of 'gaincell demo', or damaged; run the demo again.") from None
    if "/" in str(model) and not Path(str(model)).is_dir():  # a run of somebody else's must not fetch from the hub
        raise InputError(f"{path} names the model {model}, which is no folder here; run the demo again.")
    if any(Path(plan.name).name != plan.name for plan in plans):
        raise InputError(f"{path} is damaged; run the demo again.")
    given = "--quick " * bool(settings.get("quick")) + "--from-scratch " * any(plan.learns for plan in plans)
    again = f"gaincell demo {given}--out {shlex.quote(str(folder))}"
    try:
        demo = DemoSettings(**settings, plans=plans)
    except TypeError:
        demo = None
    if demo is None or made_by != __version__:
        raise InputError(
            f"{folder} was written by gaincell {made_by}, this is {__version__}; delete it and run '{again}'."
        )
    record = Record(path, found["settings"])
    if "results" not in record.data:
        raise InputError(f"{folder} is unfinished; finish it with '{again}'.")
    try:
        return demo_subject(Workbench(demo, folder, str(model), load), record)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, StopIteration):
        raise InputError(f"{path} is damaged; run the demo again.") from None


def _adapt_run(folder: Path, base: str, load: Load) -> Subject:
    from gaincell.models.load import inspect_model
    from gaincell.report.curves import read_curve

    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not a run folder: it holds neither config.json of 'gaincell adapt' nor results.json of "
            "'gaincell demo'; give the folder that one of them wrote with --out."
        )
    about = read_json(path)
    if "model_type" in about:
        up = folder.parent if (folder.parent / "metrics.jsonl").is_file() else None
        hint = "give the run folder that it lies in" if up is None else f"its run folder is {up}"
        raise InputError(f"{folder} is a model folder, not a run folder; {hint}.")
    try:
        wanted, point = str(about["model"]), dict(about["design_point"])
        config = GainCellConfig(**point)
    except (KeyError, TypeError, ValueError, InputError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise InputError(
            f"{path} is not of a run of this version of 'gaincell adapt' ({reason}); adapt again in another folder."
        ) from None
    model = folder / "model"
    if not (model / "config.json").is_file():
        again = f"gaincell adapt ... --config {config.name} --out {shlex.quote(str(folder))}"
        raise InputError(
            f"{folder} is unfinished: it has no adapted model yet; finish it with the '{again}' that began it, or make "
            "an adapter of its last checkpoint with --save-adapter FILE, and report that."
        )
    config = inspect_model(model).design_point or config
    adapted = {config.name: AdaptedModel(config, lambda: load(str(model))[0], model_identity(model))}
    known = {"adapted in": folder.name, "learned from": str(about.get("text", "unknown"))}
    original, curves = _checked(base, wanted, folder, load), [read_curve(folder, config.name)]
    return Subject(folder, original, _base_identity(base), adapted, curves, known)


def _adapter(name: str, base: str, load: Load) -> Subject:
    from gaincell.models import adapter_info, load_adapter
    from gaincell.models.adapter import adapter_checksum

    info = adapter_info(name)
    config = GainCellConfig(**info.design_point)
    original = cache(_checked(base, info.base_hash, Path(name), load))

    def adapted_model() -> "PreTrainedModel":
        return load_adapter(copy.deepcopy(original()[0]), name)

    known = {"adapter": info.notes or "made by others"}
    adapted = {config.name: AdaptedModel(config, adapted_model, adapter_checksum(name))}
    return Subject(None, original, _base_identity(base), adapted, about=known)


def _base_identity(base: str) -> Any:
    return base if base == "demo" or not Path(base).is_dir() else model_identity(Path(base))


def _checked(base: str, wanted: str, what: Path, load: Load) -> Callable[[], Loaded]:
    """Loads the original, and refuses one that this was not adapted from."""

    def original() -> Loaded:
        from gaincell.models import base_hash, scalers_of

        model, tokenizer = load(base)
        if scalers_of(model) or base_hash(model) != wanted:
            raise InputError(
                f"{what} was not adapted from '{base}', but from another model; name that one's folder with --base."
            )
        return model, tokenizer

    return original
