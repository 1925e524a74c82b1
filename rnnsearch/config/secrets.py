"""Secrets: what in a text or an address is a password or a token, and the text without it.

Everything that is shown, logged or passed on goes through here. An address is parsed, in every way
that a library might read it: a password that was written with `/`, `#`, `?` or `@` in it is hidden
whichever of them it is cut at. What the environment of this process calls a password, a token or a
key is hidden wherever it stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"

# Parts of the name of a value that is nobody's business, in an address or in code.
_NAME = (
    r"pass(?:word|wd|phrase|code)?\b|pass(?:word|wd|phrase)|pwd|secret|credential|token|signature"
    r"|\bsig\b|api[_-]?key|(?:access|private|account|shared|encryption|ssl)[_-]?key|\bkey\b|\bsas\b"
    r"|\bauth(?!or)|\bjwt\b|bearer|odbc_connect"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
# Not `PWD`, the folder that a shell is in, and not what only points at a file.
_VARIABLE = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CONNECTION_STRING|[A-Z]_PWD|_PAT"
    r"|(?:ACCESS|SECRET|API|PRIVATE|ACCOUNT|ENCRYPTION)_?KEY(?:_ID)?)$",
    re.IGNORECASE,
)
_LONG_NAME = 16  # who has a user name of this many characters has a token in its place

# Schemes are short: in base64, a picture is one word of a hundred thousand characters.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s\"'<>`]*")
# What GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS and JSON Web Tokens begin with.
_TOKEN = re.compile(
    r"\b(?:gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|hf_\w{16,}|sk-[\w-]{16,}"
    r"|xox[abeprs]-[\w-]{8,}|A(?:KI|SI)A[A-Z0-9]{12,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_HEADER = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)?\s*)[^\s\"',}]+", re.IGNORECASE
)
_KEY_BLOCK = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# `db_password = "..."`, `"api_key": "..."`; and without quotes as `.env` files and YAML have it.
_WORD = r"(?:password|passwd|passphrase|secret|credentials?|[_-]token|api[_-]?key|access[_-]?key)"
_ASSIGNED = re.compile(
    rf"({_WORD}[\w-]{{0,80}}[\"']?\]?\s*[:=]\s*)([rbuf]*)([\"'])(?:(?!\3).){{3,}}\3", re.IGNORECASE
)
_SET = re.compile(
    rf"^([+\- ]?[ \t]*(?:export\s+|-\s+)?[\w.-]*{_WORD}[\w-]*(?:=|:\s+))[^\s\"'(\[{{].{{2,}}$",
    re.IGNORECASE | re.MULTILINE,
)


def hide_password(uri: str) -> str:
    """An address that may be shown: `***` for its password, or its token, and in its query."""
    spans = sorted(_spans(uri))
    shown: list[str] = []
    end = 0
    for first, last in spans:
        if first > end or not shown:
            shown += [uri[end:first], HIDDEN]
        end = max(end, last)
    return "".join([*shown, uri[end:]])


def has_password(uri: str) -> bool:
    """Whether an address holds what has to be hidden; one that was hidden already does not."""
    return hide_password(uri) != uri


def same_address(one: str, other: str) -> bool:
    """Whether two addresses differ at most in what is hidden in them."""
    return _bare(one) == _bare(other)


def _bare(uri: str) -> str:
    shown = hide_password(uri)
    scheme, separator, rest = shown.partition("://")
    return scheme.lower() + separator + rest.rpartition("@")[2].rstrip("/")


def is_ambiguous(uri: str) -> bool:
    """Whether a password is written so that libraries cut it at different places."""
    base, end = _authority(uri)
    return uri.rfind("@", base) >= end > base


def _authority(uri: str) -> tuple[int, int]:
    """Where the part with user, password and host begins and ends (RFC 3986, 3.2)."""
    base = uri.find("://") + 3
    if base < 3:
        return len(uri), len(uri)
    return base, next((i for i in range(base, len(uri)) if uri[i] in "/?#"), len(uri))


def _spans(uri: str) -> Iterator[tuple[int, int]]:
    """What is to be hidden, by first and last index; a place may be given twice."""
    base, end = _authority(uri)
    at = uri.rfind("@", base, end)
    if at >= 0:
        yield from _userinfo(uri, base, at)
    yield from _query(uri, end)
    last = uri.rfind("@", base)
    if last >= end > base:  # by RFC 3986 it is in path or query; the password may have had a slash
        yield from _userinfo(uri, base, last)
        yield from _query(uri, last)


def _userinfo(uri: str, base: int, at: int) -> Iterator[tuple[int, int]]:
    user, colon, password = uri[base:at].partition(":")
    if not colon:
        # A database has users that are no secret; a web server has tokens in their place.
        is_web = uri[: base - 3].lower().endswith(("http", "https"))
        if is_web or _looks_like_token(user) or re.search(r"[/?#@]", user):
            yield base, at
    elif user and (password in ("", "x-oauth-basic") or _looks_like_token(user)):
        yield base, at
    elif password != HIDDEN:
        yield base + len(user) + 1, at


def _looks_like_token(user: str) -> bool:
    return len(user) >= _LONG_NAME or _TOKEN.match(user) is not None


def _query(uri: str, after: int) -> Iterator[tuple[int, int]]:
    begin = next((i + 1 for i in range(after, len(uri)) if uri[i] in "?#"), len(uri))
    hiding = False
    while begin < len(uri):
        end = uri.find("&", begin)
        end = len(uri) if end < 0 else end
        equals = uri.find("=", begin, end)
        if equals < 0:  # the rest of a password with an `&` in it
            if hiding:
                yield begin, end
        elif _SECRET_NAME.search(unquote_plus(uri[begin:equals])):
            hiding = True
            yield equals + 1, end
        else:
            hiding = False
            for part in re.finditer(r"[;?#]([^;?#=]+)=([^;?#]*)", uri[begin:end]):
                if _SECRET_NAME.search(unquote_plus(part[1])):
                    yield begin + part.start(2), end
        begin = end + 1


def hide(text: str, *uris: str) -> str:
    """Text without passwords and tokens.

    Hidden are those in addresses; what looks like the token of a well-known service, a private key,
    or a literal that is assigned to a name such as `password`; and the values that the environment
    holds under such names.

    Args:
        text: what a person or a log is to read.
        uris: addresses whose passwords must not be in it, in pieces or whole.
    """
    return _hide(text, _pattern(uris))


def hide_all(value: Any) -> Any:
    """Plain values, as JSON has them, in which every text went through `hide`."""
    known = _pattern(())

    def hidden(value: Any) -> Any:
        if isinstance(value, str):
            return _hide(value, known)
        if isinstance(value, Mapping):
            return {key: hidden(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [hidden(item) for item in value]
        return value

    return hidden(value)


def _hide(text: str, known: re.Pattern[str]) -> str:
    text = known.sub(HIDDEN, text)
    text = _ADDRESS.sub(lambda found: hide_password(found[0]), text)
    text = _KEY_BLOCK.sub(rf"\1{HIDDEN}\2", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\1\2\3{HIDDEN}\3", text)
    text = _SET.sub(rf"\1{HIDDEN}", text)
    return _TOKEN.sub(HIDDEN, text)


def _pattern(uris: tuple[str, ...]) -> re.Pattern[str]:
    """What matches the secrets that are known, the longest first."""
    known = map(re.escape, sorted(_known(uris), key=len, reverse=True))
    either = "|".join(known) or r"(?!)"
    return re.compile(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])")


def _known(uris: tuple[str, ...]) -> set[str]:
    """Secrets of the environment and of addresses, in every way in which they are written."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _VARIABLE.search(name) or (name.endswith("USERNAME") and len(value) >= _LONG_NAME):
            found.add(value)
        elif _ADDRESS.fullmatch(value):
            uris = (*uris, value)
    for uri in uris:
        for first, last in _spans(uri):
            secret = unquote(uri[first:last])
            # A library that cuts an address elsewhere complains of a piece of it.
            found |= {uri[first:last], *re.split(r"[/?#@:]", uri[first:last])}
            found |= set(re.findall(r"(?:pwd|password)=\{?([^;}]+)", secret, re.IGNORECASE))
    found |= {unquote(secret) for secret in found}
    found |= {quote(secret, safe="") for secret in found} | {quote_plus(s) for s in found}
    return {secret for secret in found if _can_be_told(secret)}


def _can_be_told(secret: str) -> bool:
    """Whether a text that equals a secret is likely to be it: `a` and `2026` are everywhere."""
    return len(secret) >= (8 if secret.isdigit() else 4) and secret != HIDDEN
