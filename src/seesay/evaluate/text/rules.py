"""What a token can look like: a table of regular expressions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

Rule = tuple[re.Pattern[str], Callable[[str], str]]
"""Group 1 is the token, the rest must follow it; and how the token is written."""

SPLIT = {
    "cannot": ("can", "not"),
    "gimme": ("gim", "me"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "wanna": ("wan", "na"),
}
"""Words that are two tokens."""

_TITLES = """
    adj adm adv alex assoc asst atty ave brig capt cf cie cmdr col comdr cpl dept det dr drs elec
    ens ft gen gov govs hon insp invt jos lieut lt maj mfg mlle mme mr mrs ms msgr mt mtg natl
    pfc ph pres prof profs pvt rep reps rev sen sens sfc sgt spc st ste supt treas vs wm
"""
_ENDINGS = """
    al ala apr ariz assn aug bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc
    ext feb fla fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont
    neb nev nov oct okla penn plc ppte ppty pte ptes pty ptys rd rt seq sep sept sq sr sys tel
    tenn thu thurs tue tues univ va vt wed wis wisc wyo
"""
_PLACES = "ark az del ill la mass miss ore pa tex wash"
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop"

_STARTERS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last
    Many More Mr\\. Ms\\. Now Once One Other Our She Since So Some Such That The Their Then There
    These They This We What When While Yet You
"""
"""After these and a space, the letter before them was the end of a sentence: "plan B. The man"."""

_FILES = """
    bat bmp c cgi class cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl
    png ppt ps py sql tar txt wav x xml zip
"""

_MARKS = """
    2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-36f 375 378-379 384-385 3f6 483-487 55a-55f 591-5bd 5bf 5c1-5c2
    5c4-5c5 5c7 615-61a 64b-65e 670 6d6-6e4 6e7-6ed 6fd-6fe 70f 711 730-74c 7a6-7b0 7eb-7f3 900-903
    93c 93e-94e 951-955 962-963 981-983 9bc 9be-9c4 9c7-9c8 9cb-9cd 9d7 9e2-9e3 a01-a03 a3c a3e-a4f
    a81-a83 abc abe-acf b82 bbe-bc2 bc6-bc8 bca-bcd c01-c03 c3e-c56 d3e-d44 d46-d48 e31 e34-e3a
    e47-e4e eb1 eb4-ebc ec8-ecd
"""
"""Characters beside letters that a word is made of: accents, vowels of other scripts."""

_SIGNS = """
    24-26 3b 3d 5c 5e 7c 7e a1 a5-a9 ac ae-b1 b4 b6-b8 bf d7 f7 37e 387 589 5be 5c0 5c3 5c6 5f3-5f4
    600-603 606-60c 614 61b 61e-61f 66a 66d 6d4 700-70d 7f6-7f8 964-965 e3f e4f 1fbd 2016-2017
    2020-2023 2030-2038 203b 203e-2042 207a-207e 208a-208e 20a4 2100-2101 2103-2106 2108-2109 2114
    2116-2118 211e-2123 2125 2127 2129 212e 213a-213b 2140-2144 214a-214d 214f 2155-215e 2190-2bff
    3001-3002 3012 30fb ff01-ff0f ff1a-ff20 ff3b-ff40 ff5b-ff65 ffe0-ffe1 ffe5-ffe6
"""
"""Characters that are a token each; any not named anywhere are left out, as is every emoji."""

_FRACTIONS = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_QUOTES = str.maketrans(
    dict.fromkeys("“«\x93", "``")
    | dict.fromkeys("”»\x94", "''")
    | dict.fromkeys("‘‛‹\x91", "`")
    | dict.fromkeys("’›\x92", "'")
)
_ROUND = str.maketrans({"(": "-lrb-", ")": "-rrb-"})


@cache
def rules() -> list[tuple[re.Pattern[str], re.Pattern[str], Callable[[str], str]]]:
    """Return the first character of a token, the rule's pattern, and how the token is written."""
    letters = _letters() + _ranges(_MARKS) + "\xad"
    entity = "&(?i:[aeiou](?:acute|grave|uml));"
    letter, either = f"(?:[{letters}]|{entity})", f"(?:[{letters}\\d]|{entity})"
    word = f"{letter}{either}*(?:[.!?]{letter}{either}*)*"
    digits = "(?:\\d*(?:[.:,\xad\u066b\u066c]\\d+)+|\\d+)"
    apostrophe, tick = "(?:['’\x92]|&apos;)", "(?:['’\x92`]|&apos;)"
    short = "(?i:[msd]|re|ve|ll)"
    initials = r"[A-Za-z](?:\.[A-Za-z])+\."
    joined = f"{either}+(?:_{either}+)*"
    hyphened = f"{either}(?:{either}|[.,])*(?:[-֊‐‑](?:{initials}|{either}+))+"
    piece = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
    host = r"""[^\s"'`<>|./$!?,()@_{}:;=\[\]\\^0-9-][^\s"'`<>|./$!?,()@_{}:;=\[\]\\^-]*"""
    path = r"""[^\s"<>|()]*[^\s"<>|(){}.!?,-]"""
    mail = r"""[^\s"<>|(){}]"""
    label = r"""[^\s"<>|(){}.]+"""
    area = r"(?:\([0-9]{2,3}\)[ \xa0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])"
    name = "[A-Za-z][A-Za-z0-9_:.-]*"
    value = """(?:"[^"\n]*"|'[^'\n]*'|[^ \n"'<>]+)"""
    a, n, w, q = "[A-Za-z]", "[A-Za-z0-9]", f"[{letters}\\d&]", "['’&\x92]"
    halves = [(f"(?i:{x[0]})", f"((?i:{x}))(?i:{y})") for x, y in SPLIT.values()]
    rewritten: list[tuple[str, str, Callable[[str], str]]] = [
        (q, f"((?:[’\x92]|&apos;){short})", _straight),
        ("[nN]", f"([nN]{tick}[tT])", _straight),
        ("[¼½¾⅓⅔]", "(.)", _FRACTIONS.__getitem__),
        ("[€¤₠\x80£¢]", "(.)", lambda sign: {"£": "#", "¢": "cents"}.get(sign, "$")),
        ("&", f"((?i:{'|'.join(_ENTITIES)}))", lambda entity: _ENTITIES[entity.lower()]),
        (r"[.…]", r"(\.(?: \.){2,}|\.{3,}|…)", lambda _: "..."),
        ("[-–—―&\x96\x97]", "(-{2,4}|[–—―\x96\x97]|&[mn]dash;|&MD;)", lambda _: "--"),
        (r"[()\[\]{}]", "(.)", _BRACKETS.__getitem__),
        ("['\"]", "('{1,2}|\")", lambda _: "'"),
        ("[`‘-‟«»‹›\x91-\x94]", "([`‘-‟«»‹›\x91-\x94]{1,2})", lambda mark: mark.translate(_QUOTES)),
    ]
    plain = [
        # words, and what an apostrophe makes of them
        *halves,
        (q, f"({apostrophe}(?i:t))(?i:is|was)"),
        (w, f"({word})"),
        (w, f"({either}+)"),
        (w, f"({word}){apostrophe}{short}"),
        ("[A-Za-z\xad]", f"([A-Za-z\xad]*[A-MO-Za-mo-z]\xad*)[nN]{tick}[tT]"),
        ("'", f"('{short})[^A-Za-z]"),
        (a, f"([A-HJ-XZdlno]{apostrophe}{either}{{2,}})"),
        (a, f"((?i:e{apostrophe}er|nor{apostrophe}easter))"),
        (a, f"([A-Za-z]+[aeiouyAEIOUY]{tick}[aeiouA-Z][A-Za-z]*)"),
        (a, f"((?i:[ldj]|dunkin|somethin|ol){apostrophe})"),
        (a, f"((?i:c{apostrophe}mon|li{apostrophe}l|o{apostrophe}o))"),
        (q, f"({apostrophe}(?i:em|till?|cause|[2-9]0s|n{apostrophe}?))"),
        (q, f"({apostrophe}[0-9]{{2}})\\s"),
        ("[yY]", f"([yY]{apostrophe})[A-Za-z]"),
        # words with more than letters in them
        (w, f"({joined}(?:-{joined})*)"),
        (w, f"({hyphened})"),
        (n, f"({piece}(?:\\\\?/{piece}){{1,2}})"),
        ("[A-Z]", "([A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)"),
        ("[hH]", f"((?i:https?)://{path})"),
        ("[wW]", f"((?i:www)\\.(?:{label}\\.)+[A-Za-z]{{2,4}}(?:/{path})?)"),
        (r"[^\s\d]", f"((?:{host}\\.)+(?i:com|net|org|edu)(?:/{path})?)"),
        ("[A-Za-z0-9<&]", f"((?:<|&lt;)?{n}{mail}*@{label}(?:\\.{label})*(?:>|&gt;)?)"),
        ("@", "(@[A-Za-z_][A-Za-z_0-9]*)"),
        ("#", f"(#[{letters}]+)"),
        # abbreviations keep their full stop
        (a, f"((?i:{_any(_TITLES + _ENDINGS)})\\.)"),
        ("[A-Z]", f"((?:{_any(f'{_PLACES.title()} {_PLACES.upper()}')})\\.)"),
        (a, f"({initials}|[A-Za-z]\\.|(?i:ph|ed)\\.[dD]\\.)"),
        (a, f"([A-Za-z])\\.\\s+(?:(?:{_any(_STARTERS)})\\s|<[A-Za-z!?/])"),
        (a, f"((?i:{_any(_BEFORE_NUMBERS)})\\.) ?\\d"),
        (w, f"((?:{word}|{either}+)\\.)[,;:]"),
        (w, f"({hyphened}\\.)[,;:]"),
        (w, f"({either}+(?:\\.{either}+)*\\.(?i:{_any(_FILES)}))[\\s.,!?]"),
        # numbers
        (r"[\d.:,+\-\xad\u066b\u066c]", f"([-+]?{digits})"),
        ("[0-9]", r"((?:[0-9]{1,4}[- \xa0])?[0-9]{1,4}(?:\\?/|⁄)[0-9]{1,4})"),
        ("[0-9]", "([0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4})"),
        ("[0-9(+]", f"({area}[0-9]{{3,4}}[- \xa0]?[0-9]{{3,5}})"),
        (r"[A-Z$]", r"([A-Z]*\$)"),
        # faces, tags and entities
        ("[<>:;=]", r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])[^A-Za-z0-9]"),
        ("[-^x=~<>']", "([-^x=~<>']_[-^x=~<>'])"),
        ("[(]", r"(\([-^x=~<>'][_.]?[-^x=~<>']\))"),
        ("<", r"(<[!?][A-Za-z-][^>\n]*>)"),
        ("<", f"(</?{name}(?: +{name}(?: *= *{value})?)* */?>)"),
        ("&", "(&#?[A-Za-z0-9]+;)"),
        # punctuation
        ("'", r"(')[A-Za-z]\S"),
        ("[!?_#@*]", r"([!?]+|_+|#+|@+|\*+)"),
        ("[<>²³¹⁰⁴-⁹₀-₉]", "(<{1,2}|>{1,2}|[²³¹⁰⁴-⁹]+|[₀-₉]+)"),
        ("-", "(-(?i:[lr][crs]b)-|-+)"),
        ("[\\\\]", r"((?:\\\*)+|\\)"),
        (f"[.,:;/@+\\-{_ranges(_SIGNS)}]", "(.)"),
    ]
    table = [*rewritten, *((first, whole, _plain) for first, whole in plain)]
    return [(re.compile(first), re.compile(whole), written) for first, whole, written in table]


_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "'", "&nbsp;": " "}


def _plain(token: str) -> str:
    """A token as it stands; no soft hyphens, and no round brackets even inside a face."""
    return token.replace("\xad", "").replace("&amp;", "&").translate(_ROUND)


def _straight(token: str) -> str:
    return re.sub("[’\x92]|&apos;", "'", token)


def _any(listed: str) -> str:
    return "|".join(listed.split())


def _ranges(listed: str) -> str:
    """Hexadecimal ranges as the inside of a character class."""
    ends = (part.split("-") for part in listed.split())
    return "".join(f"\\u{low:>04}" + "".join(f"-\\u{h:>04}" for h in high) for low, *high in ends)


def _letters() -> str:
    """All letters as the inside of a character class."""
    found, start = "", None
    for code in range(0x10001):
        inside = code < 0x10000 and unicodedata.category(chr(code)).startswith("L")
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found += f"\\u{start:04x}-\\u{code - 1:04x}"
            start = None
    return found
