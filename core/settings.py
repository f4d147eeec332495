"""The settings tree, and the only reader of the environment and of .env.

Order: environment variables `SEXTANT_*`, then `.env`, then what was saved on the Settings page (`settings.json` in the home
folder), then the defaults. A wrong value refuses the whole change and the old settings go on; an unknown name is an error.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from core.alerts import KINDS, MOST_LEVELS, Level
from data.errors import SettingsError, SextantError
from data.market import Interval, Market, parse_symbol
from data.storage.durable import no_fault, replace_file

ROOT = Path(__file__).resolve().parent.parent
COMMUNITY_CLOUD = Path("/mount/src")  # where Streamlit Community Cloud puts a repository; its disk does not last
DEFAULT_WATCHLIST = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT",
                     "DOGEUSDT", "AVAXUSDT", "LINKUSDT", "DOTUSDT", "LTCUSDT", "TRXUSDT")
ELSEWHERE = {"SEXTANT_REAL_DATA", "SEXTANT_TEST_SEED"}  # read by the tests, not by the product
SAVED = "settings.json"


class Settings(BaseSettings):
    """Everything a user can decide.

    Attributes
    ----------
    home : folder of all state (candles, caches, logs); `SEXTANT_HOME`
    watchlist : 1 to 100 symbols shown on the Overview
    interval, market : what pages open with
    world : `auto` shows real data if there is any, else the simulated exchange; `real` or `simulated` decide it
    network : `auto` asks the exchange and the other sources; `off` asks none (alerts and the assistant go where you set them up)
    endpoint : a simulated exchange on this computer instead of the real one, e.g. http://127.0.0.1:9000; nothing else is accepted
    storage : `lasting`, or `temporary` where the disk is wiped at a restart (Streamlit Community Cloud, found by itself): pages then say so
    simulator_seed : another seed is another simulated world
    threads : symbols scored at the same time, 1 to 16
    owner_password : what allows changes on a public page; never shown
    notify : Apprise addresses that alerts are sent to, separated by commas; secrets, never shown
    alert_kinds : which kinds of alerts are kept and sent (core/alerts.py KINDS)
    alert_drawdown : share below its peak at which the paper account is worth an alert; 0: never
    alert_levels : crossings to wait for, e.g. "BTCUSDT price above 70000"
    reports : daily, weekly, both or none
    api_token : what changes state through the HTTP API; never shown
    assistant_url : an OpenAI-compatible endpoint: https, or http on this computer
    assistant_model : the model asked for there; empty: none, the assistant then writes the deterministic brief
    assistant_key : the endpoint's key; never shown
    assistant_price : what a million tokens cost, in and out, e.g. "0.15/0.60" dollars; empty: tokens alone are shown
    """

    model_config = SettingsConfigDict(env_prefix="SEXTANT_", env_file=".env", env_file_encoding="utf-8", extra="forbid",
                                      frozen=True, validate_default=True)

    home: Path = ROOT / "var"
    watchlist: Annotated[tuple[str, ...], NoDecode, Field(min_length=1, max_length=100)] = DEFAULT_WATCHLIST
    interval: Interval = Interval.H1
    market: Market = Market.SPOT
    world: Literal["auto", "real", "simulated"] = "auto"
    network: Literal["auto", "off"] = "auto"
    endpoint: str = ""
    storage: Literal["lasting", "temporary"] = "temporary" if COMMUNITY_CLOUD in ROOT.parents else "lasting"
    simulator_seed: Annotated[int, Field(ge=0, le=2**31)] = 7
    threads: Annotated[int, Field(ge=1, le=16)] = 2
    owner_password: SecretStr | None = None
    notify: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    alert_kinds: Annotated[tuple[str, ...], NoDecode] = tuple(KINDS)
    alert_drawdown: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    alert_levels: Annotated[tuple[str, ...], NoDecode] = ()
    reports: Literal["daily", "weekly", "both", "none"] = "both"
    api_token: SecretStr | None = None
    assistant_url: Annotated[str, Field(max_length=300)] = "https://api.openai.com/v1"
    assistant_model: Annotated[str, Field(max_length=120, pattern=r"^[\w./:@+-]*$")] = ""
    assistant_key: SecretStr | None = None
    assistant_price: Annotated[str, Field(pattern=r"^(\d+(\.\d+)?/\d+(\.\d+)?)?$")] = ""

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("endpoint")
    @classmethod
    def _loopback(cls, value: str) -> str:
        if value and not re.fullmatch(r"http://127\.0\.0\.1:\d{2,5}", value):
            raise ValueError("expected http://127.0.0.1:PORT, where `python -m core exchange --port PORT` runs; the hosts of the real "
                             "exchange are fixed in the code")
        return value

    @field_validator("assistant_url")
    @classmethod
    def _assistant(cls, value: str) -> str:
        if not re.fullmatch(r"(https://[\w.-]+(:\d{1,5})?|http://(127\.0\.0\.1|localhost):\d{1,5})(/[\w./-]*)?", value):
            raise ValueError("expected https://HOST/v1, or http://127.0.0.1:PORT/v1 for a model on this computer; the key goes into "
                             "SEXTANT_ASSISTANT_KEY, not into the address")
        return value.rstrip("/")

    @field_validator("watchlist", mode="before")
    @classmethod
    def _symbols(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else [s for s in value.split(",") if s.strip()]
        if not isinstance(value, list | tuple):
            raise ValueError("expected symbols, separated by commas")
        try:
            return tuple(dict.fromkeys(parse_symbol(str(s)) for s in value))
        except SextantError as error:
            raise ValueError(str(error)) from None

    @field_validator("notify", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value

    @field_validator("alert_kinds", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        value = tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else tuple(value)
        unknown = [v for v in value if v not in KINDS]
        if unknown:
            raise ValueError(f"there is no kind {unknown[0]!r}; known: {', '.join(KINDS)}")
        return tuple(dict.fromkeys(value))

    @field_validator("alert_levels", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> Any:
        value = tuple(v.strip() for v in value.split(";") if v.strip()) if isinstance(value, str) else tuple(value)
        if len(value) > MOST_LEVELS:
            raise ValueError(f"at most {MOST_LEVELS} levels, got {len(value)}")
        try:
            return tuple(dict.fromkeys(Level.parse(str(v)).words for v in value))
        except SextantError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def settings_customise_sources(cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
                                   env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
                                   file_secret_settings: PydanticBaseSettingsSource) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, _OwnLines(settings_cls), init_settings  # what was saved comes in as init values


class _OwnLines(DotEnvSettingsSource):
    """.env, of which only the SEXTANT_ lines are ours: other programs' lines are theirs, a misspelt one of ours is an error."""

    def __call__(self) -> dict[str, Any]:
        known = {name: value for name, value in super().__call__().items() if name in self.settings_cls.model_fields}
        for name in self.env_vars:
            _refuse_unknown(name.upper(), ".env line")
        return known


def load_settings(home: Path | None = None) -> Settings:
    """The settings in force.

    Raises
    ------
    SettingsError
        With the name, the value and what is allowed; nothing is started on wrong settings.
    """
    _refuse_unknown_variables()
    where = home or Path(os.environ.get("SEXTANT_HOME") or ROOT / "var").expanduser().resolve()
    return _validated(_saved(where) | ({"home": where} if home else {}))


def change_settings(current: Settings, changes: dict[str, Any]) -> Settings:
    """Save changes and return the new settings; a single wrong value refuses them all and leaves the file as it was."""
    saved = _saved(current.home) | changes
    fresh = _validated(saved | {"home": current.home})
    hidden = ("home", "owner_password", "notify", "api_token", "assistant_key")
    text = json.dumps({k: v for k, v in fresh.model_dump(mode="json").items() if k in saved and k not in hidden})
    current.home.mkdir(parents=True, exist_ok=True)
    replace_file(current.home / SAVED, text.encode(), no_fault, "settings")
    return fresh


def _saved(home: Path) -> dict[str, Any]:
    path = home / SAVED
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as JSON ({error}); correct it or delete it to return to the defaults") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path} should hold one JSON object, it holds a {type(document).__name__}; correct or delete it")
    return document


def _validated(values: dict[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(e) for e in error.errors()[:3])) from None
    except ValueError as error:
        raise SettingsError(f"the settings cannot be read: {str(error)[:200]}") from None


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {name!r}{_near(name)}"
    got = "(hidden)" if "password" in name or name in ("notify", "assistant_key", "assistant_url") else repr(problem.get("input"))[:60]
    return f"setting {name}: got {got}; {problem['msg'].removeprefix('Value error, ')}"


def _near(name: str) -> str:
    close = difflib.get_close_matches(name, list(Settings.model_fields), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(Settings.model_fields)}"


def _refuse_unknown_variables() -> None:
    for name in os.environ:
        _refuse_unknown(name, "environment variable")


def _refuse_unknown(name: str, where: str) -> None:
    if name.startswith("SEXTANT_") and name not in ELSEWHERE and name[8:].lower() not in Settings.model_fields:
        raise SettingsError(f"unknown {where} {name}{_near(name[8:].lower())}")


# -- for the Settings page --------------------------------------------------------------------------------------------


def secret_names() -> tuple[str, ...]:
    """Settings that are never shown, exported or saved to a file."""
    return tuple(name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation))


def origins(settings: Settings) -> dict[str, str]:
    """Where each value in force comes from: environment, .env, saved or default."""
    given, lines, saved = {name.upper() for name in os.environ}, _OwnLines(Settings)(), _saved(settings.home)
    return {name: "environment" if f"SEXTANT_{name.upper()}" in given else ".env" if name in lines else "saved" if name in saved
            else "default" for name in Settings.model_fields}


def export_settings(settings: Settings) -> str:
    """The values in force as JSON, without secrets and without the home folder."""
    document = settings.model_dump(mode="json", exclude={"home", *secret_names()})
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def import_settings(current: Settings, text: str) -> Settings:
    """Save what an exported file says; one wrong or unknown value refuses it whole.

    Raises
    ------
    SettingsError
        With the field, the value and what is allowed; nothing was changed.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"the file is not JSON ({error}); expected one that was exported here") from None
    if not isinstance(document, dict):
        raise SettingsError(f"the file should hold one JSON object, it holds a {type(document).__name__}")
    never = [name for name in ("home", *secret_names()) if name in document]
    if never:
        raise SettingsError(f"{never[0]} is never taken from a file; take it out, and set SEXTANT_{never[0].upper()} in the environment")
    return change_settings(current, document)
