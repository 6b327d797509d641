"""The recipe: which variants are made, and every parameter with its meaning, unit, range and default."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import UsageError
from engine.planning import recipes
from engine.planning.recipes import Each, Recipe, Step, Variant
from engine.stages import STAGES
from engine.stages.base import Params
from tui.screens.routing import Chain, ChainDialog, RoutingTable
from tui.widgets.key_line import KeyLine


class ParameterRow(Vertical):
    """One parameter: its name, value, and what it means; tells at once when a value does not fit."""

    def __init__(self, position: int, step: Step, item: dataclasses.Field[Any]) -> None:
        super().__init__()
        self.position, self._step, self.item = position, step, item

    def compose(self) -> ComposeResult:
        """Name and value, then the meaning."""
        with Horizontal():
            yield Label(Text(self.item.name), classes="parameter-name")
            value, limits = getattr(self._step.params, self.item.name), self._limits()
            yield Input(_shown(value), compact=True, classes=f"parameter-value{' -word' if limits is None else ''}")
            if limits is not None:
                yield Static(Text(limits), classes="parameter-limits")
        help_ = f"{self.item.metadata['help']} (default {_shown(self.item.default)})"
        yield Static(Text(help_), classes="parameter-help")
        yield Static("", classes="parameter-problem")

    def _limits(self) -> str | None:
        """None of a word or path: its meaning tells what there is, and it may be long."""
        low, high, unit = (self.item.metadata[k] for k in ("low", "high", "unit"))
        if isinstance(self.item.default, bool):
            return "true or false"
        if low is None or high is None:
            return None
        return f"{_shown(low)} … {_shown(high)} {unit}".strip()

    def read(self, text: str) -> object:
        """The value that ``text`` stands for. Raises UsageError where it does not fit."""
        default = self.item.default
        try:
            value: object = text.strip()
            if isinstance(default, bool):
                value = {"true": True, "false": False}[text.strip().lower()]
            elif isinstance(default, int):
                value = int(text)
            elif isinstance(default, float):
                value = float(text)
        except (KeyError, ValueError) as error:
            kind = "true or false" if isinstance(default, bool) else "a number"
            raise UsageError(f"{self.item.name} must be {kind}.") from error
        dataclasses.replace(STAGES[self._step.stage].Parameters(), **{self.item.name: value})
        return value

    def tell(self, problem: str) -> None:
        """Show what is wrong; empty where all is well."""
        self.set_class(bool(problem), "-wrong")
        self.query_one(".parameter-problem", Static).update(Text(problem))
        if problem:
            self.call_after_refresh(self.scroll_visible, animate=False)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


class VariantSwitches(OptionList):
    """The recipe's variants; space switches one on or off."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "switch", "On/off")]

    class Switched(Message):
        """The variant under the cursor shall be made, or no more."""

    def action_switch(self) -> None:
        """The other way round."""
        self.post_message(self.Switched())


class RecipeScreen(Screen[str | None]):
    """Edit a recipe; gives the name that it was saved under, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back"),
        Binding("ctrl+s", "save", "Save and use", priority=True),
    ]

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe
        self._variants = dict(recipe.variants)  # in the recipe's own order: a variant starts from earlier ones
        self._wrong: set[tuple[str, int, str]] = set()
        self._changed = False
        self._shown: tuple[str, ...] = ()  # the variant whose parameters are on the screen, and the stems
        self._below: list[Label | ParameterRow] = []  # what shows them

    def compose(self) -> ComposeResult:
        """Variants at the left, parameters at the right, the name below."""
        yield Label(Text(f"Recipe: {self._recipe.title}"), classes="page-title")
        with Horizontal(id="recipe-body"):
            yield VariantSwitches(id="variants")
            yield VerticalScroll(id="parameters", can_focus=False)  # Tab goes to the first field
        with Horizontal(id="recipe-name"):
            yield Label("Save as ")
            name = self._recipe.name if self._recipe.name not in recipes.shipped() else f"my {self._recipe.name}"
            yield Input(name, compact=True, id="name")
        yield KeyLine("save", "leave")

    def on_mount(self) -> None:
        """Show the first variant."""
        listing = self.query_one("#variants", OptionList)
        listing.border_title = "Variants"
        listing.focus()
        self._list()
        listing.highlighted = 0

    def _list(self) -> None:
        listing = self.query_one("#variants", OptionList)
        at = listing.highlighted
        listing.clear_options()
        for variant in sorted(self._variants.values(), key=lambda v: recipes.by_number(v.name)):
            chain = variant.described() + (" (temporary)" if variant.temporary else "")
            line = Text.assemble(
                ("● " if variant.enabled else "○ ", "bold"), variant.name, (f"\n  {chain}", "faint"),
                no_wrap=True, overflow="ellipsis",
            )  # fmt: skip
            listing.add_option(Option(line, id=variant.name))
        listing.highlighted = at

    def _current(self) -> Variant | None:
        listing = self.query_one("#variants", OptionList)
        if listing.highlighted is None:
            return None
        return self._variants[str(listing.get_option_at_index(listing.highlighted).id)]

    @on(OptionList.OptionHighlighted, "#variants")
    async def _show_parameters(self, event: OptionList.OptionHighlighted) -> None:
        variant = self._current()
        if variant is None or variant.name != event.option.id:
            return  # the cursor has gone on: what it is on now comes next
        box = self.query_one("#parameters", VerticalScroll)
        box.border_title = f"Parameters of {variant.name}"
        if self._shown[:1] != (variant.name,):
            await self._fill(variant)

    @on(OptionList.OptionHighlighted, ".routing")
    async def _show_stem(self) -> None:
        variant = self._current()
        if variant is not None and self._shown[:1] == (variant.name,):
            await self._fill_below(variant)

    async def _fill(self, variant: Variant, stem: str = "") -> None:
        """The routing of the stems, where there is one, with the cursor on a ``stem``; the parameters below."""
        self._shown, self._below = (), []
        box = self.query_one("#parameters", VerticalScroll)
        await box.remove_children()
        treated = [(place, item) for place, item in enumerate(variant.chain) if isinstance(item, Each)]
        separation = self._separation(variant)
        await box.mount_all(RoutingTable(place, each, separation, stem) for place, each in treated)
        await self._fill_below(variant)

    def _separation(self, variant: Variant) -> Step | None:
        """What takes a song apart for a variant, on the first of the ways that it may come."""
        steps = [step for stem, step in variant.steps() if not stem and step.stage == "separate"]
        source = self._variants.get(variant.sources[0]) if variant.sources else None
        return steps[0] if steps else self._separation(source) if source is not None else None

    async def _fill_below(self, variant: Variant) -> None:
        """The parameters of what is done to all of the song, and to the stems under the cursors."""
        tables = list(self.query(RoutingTable))
        shown = (variant.name, *(table.stem for table in tables))
        if shown == self._shown:
            return
        gone, self._shown, self._below = self._below, shown, []
        for position, (stem, step) in enumerate(variant.steps()):
            if stem not in ("", *shown[1:]):
                continue
            title = f"{stem}: {STAGES[step.stage].title}" if stem else STAGES[step.stage].title
            rows = [ParameterRow(position, step, item) for item in dataclasses.fields(step.params)]
            self._below += [Label(Text(title), classes="stage-title"), *rows]
        box = self.query_one("#parameters", VerticalScroll)
        with self.app.batch_update():
            await box.remove_children(gone)
            await box.mount_all(self._below)

    @on(OptionList.OptionSelected, ".routing")
    def _change_chain(self, event: OptionList.OptionSelected) -> None:
        """Ask what the stem under the cursor shall go through."""
        table, variant, stem = event.option_list, self._current(), str(event.option.id)
        if not isinstance(table, RoutingTable) or variant is None:
            return

        async def taken(chain: Chain | None) -> None:
            if chain is None or chain == table.each.of(stem):
                return
            each = table.each.with_chain(stem, chain)
            if not each.stems:
                self.notify(
                    f"One stem at least must be treated here: switch {variant.name} off with space instead.",
                    severity="error",
                    markup=False,
                )
                return
            self._changed = True
            # What did not fit yet is shown with its old value now, and its place may be another one.
            self._wrong = {key for key in self._wrong if key[0] != variant.name}
            self._variants[variant.name] = self._variants[variant.name].with_each(table.place, each)
            await self._fill(self._variants[variant.name], stem)
            self._list()
            next(one for one in self.query(RoutingTable) if one.place == table.place).focus()

        self.app.push_screen(ChainDialog(stem, table.each.of(stem)), taken)

    @on(VariantSwitches.Switched)
    def _switch(self) -> None:
        variant = self._current()
        if variant is not None:
            self._variants[variant.name] = dataclasses.replace(variant, enabled=not variant.enabled)
            self._changed = True
            self._list()

    @on(Input.Changed, ".parameter-value")
    def _check(self, event: Input.Changed) -> None:
        row = next((a for a in event.input.ancestors if isinstance(a, ParameterRow)), None)
        if row is None or row not in self._below:
            return  # of a variant or stem that the cursor has left
        variant = self._variants[self._shown[0]]
        key = (variant.name, row.position, row.item.name)
        try:
            value = row.read(event.value)
        except UsageError as error:
            self._wrong.add(key)
            row.tell(str(error))
            return
        self._wrong.discard(key)
        row.tell("")
        _, step = variant.steps()[row.position]
        if getattr(step.params, row.item.name) != value:
            self._changed = True
            self._set(variant, row.position, dataclasses.replace(step.params, **{row.item.name: value}))

    def _set(self, variant: Variant, position: int, params: Params) -> None:
        self._variants[variant.name] = variant.with_params(position, params)

    def action_save(self) -> None:
        """Save under the name and use it."""
        if self._wrong:
            variant, position, name = sorted(self._wrong)[0]
            stem, _ = self._variants[variant].steps()[position]
            where = f"{variant}, {stem}" if stem else variant
            self.notify(f"{where}: {name} does not fit yet.", severity="error", markup=False)
            return
        name = self.query_one("#name", Input).value
        if name in recipes.shipped():
            self.notify(
                "That name is taken by a recipe of the program: choose another.", severity="error", markup=False
            )
            return
        try:
            recipe = dataclasses.replace(self._recipe, name=name, title=name, variants=self._variants)
            recipes.save(recipe, name)
        except UsageError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.dismiss(name)

    def action_leave(self) -> None:
        """Leave; ask first where something was changed."""
        if not self._changed:
            self.dismiss(None)
            return
        from tui.screens.dialogs import Choice

        def answered(answer: str | None) -> None:
            if answer == "drop":
                self.dismiss(None)
            elif answer == "save":
                self.action_save()

        question = "The recipe was changed. Keep the changes?"
        answers = {"save": "Save and use", "drop": "Throw away", "stay": "Stay here"}
        self.app.push_screen(Choice(question, answers), answered)
