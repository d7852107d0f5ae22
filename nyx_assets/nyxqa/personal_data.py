"""Personal data in a question or an answer: addresses, numbers and ids that name one person, by pattern and checksum.

Choice: few kinds, each with a check of its own where its format has one, so that years, measures, ISBNs and version numbers
pass. Names and street addresses are not looked for: most questions about the world hold one.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from nyx_assets.nyxqa.pairs import Pair

ROLES = frozenset(
    [
        "abuse",
        "admin",
        "billing",
        "contact",
        "enquiries",
        "feedback",
        "help",
        "hello",
        "hostmaster",
        "info",
        "inquiries",
        "jobs",
        "legal",
        "mail",
        "marketing",
        "media",
        "news",
        "newsletter",
        "no-reply",
        "noreply",
        "office",
        "postmaster",
        "press",
        "privacy",
        "root",
        "sales",
        "security",
        "service",
        "spam",
        "support",
        "team",
        "webmaster",
        "www",
    ]
)
"""Mailboxes of a function, RFC 2142 and what is usual beside it: they name no person."""
RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.\w+)?|test|invalid|localhost|local)$")
"""Domains that belong to nobody: RFC 2606 and RFC 6762."""
CARD = re.compile(
    r"(?:4\d{15}|5[1-5]\d{14}|222[1-9]\d{12}|22[3-9]\d{13}|2[3-6]\d{14}|27[01]\d{13}|2720\d{12}|3[47]\d{13}|6(?:011|5\d\d)\d{12})"
)
"""Visa, Mastercard, American Express and Discover by their first digits and lengths, ISO/IEC 7812."""


IBAN_LENGTHS = dict(
    re.findall(
        r"([A-Z]{2})(\d+)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 "
        "FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 "
        "LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 "
        "ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20",
    )
)
"""Characters of an IBAN by country, from SWIFT's registry. A satellite picture's name passed the check digits alone."""


def is_persons_mail(found: str) -> bool:
    """Whether an e-mail address may be a person's."""
    mailbox, _, domain = found.casefold().rpartition("@")
    return mailbox not in ROLES and not RESERVED.search(domain)


def is_telephone(found: str) -> bool:
    """Whether a number has the digits of a telephone number (ITU-T E.164: at most 15) and is none made up for films."""
    digits = _digits(found)
    return 8 <= len(digits) <= 15 and not re.search(r"55501\d\d$", digits) and len(set(digits)) > 2


def is_iban(found: str) -> bool:
    """Whether a country's length and the check digits are right: ISO 13616."""
    compact = re.sub(r"\s", "", found)
    if str(len(compact)) != IBAN_LENGTHS.get(compact[:2]):
        return False
    return int("".join(str(int(one, 36)) for one in compact[4:] + compact[:4])) % 97 == 1


def is_card(found: str) -> bool:
    """Whether a number is a payment card's: issuer, length, and Luhn's check digit."""
    digits = _digits(found)
    doubled = [int(one) * (1 + place % 2) for place, one in enumerate(reversed(digits))]
    return CARD.fullmatch(digits) is not None and sum(sum(divmod(one, 10)) for one in doubled) % 10 == 0


def is_chinese_id(found: str) -> bool:
    """Whether a resident identity number has a date of birth and the right check digit: GB 11643-1999."""
    try:
        born = date(int(found[6:10]), int(found[10:12]), int(found[12:14]))
    except ValueError:
        return False
    total = sum(int(one) * pow(2, 17 - place, 11) for place, one in enumerate(found[:17]))
    return born.year >= 1900 and "10X98765432"[total % 11] == found[17].upper()


def is_spanish_id(found: str) -> bool:
    """Whether the letter of a DNI or NIE follows from its digits, modulo 23."""
    number = found[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == found[-1]


def is_french_id(found: str) -> bool:
    """Whether the key of a number of the French register follows from its first 13 digits, modulo 97."""
    digits = _digits(found)
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def _digits(found: str) -> str:
    return re.sub(r"\D", "", found)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of personal data."""

    name: str
    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool] = lambda found: True
    """What the pattern cannot say of what it found."""


NOT_IN_A_NUMBER = r"(?<![\w.,/-])"
END = r"(?![\w/-]|[.,]\d)"

KINDS = (
    Kind(
        "an e-mail address", re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]*@(?:[\w-]+\.)+[A-Za-z]{2,}", re.ASCII), is_persons_mail
    ),
    Kind("an IBAN", re.compile(rf"\b[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{END}", re.ASCII), is_iban),
    Kind(
        "a payment card's number",
        re.compile(rf"{NOT_IN_A_NUMBER}(?:\d{{15,16}}|\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}|\d{{4}}([ -])\d{{6}}\2\d{{5}}){END}", re.ASCII),
        is_card,
    ),
    Kind("a Chinese identity number", re.compile(rf"{NOT_IN_A_NUMBER}[1-9]\d{{16}}[\dXx]{END}", re.ASCII), is_chinese_id),
    Kind("a Spanish identity number", re.compile(rf"{NOT_IN_A_NUMBER}[XYZ\d]\d{{7}}-?[A-HJ-NP-TV-Z]{END}", re.ASCII), lambda found: is_spanish_id(found.replace("-", ""))),
    Kind("a French identity number", re.compile(rf"{NOT_IN_A_NUMBER}[12] ?\d{{2}} ?(?:0[1-9]|1[0-2]) ?\d{{2}} ?\d{{3}} ?\d{{3}} ?\d{{2}}{END}", re.ASCII), is_french_id),
    Kind("a US social security number", re.compile(rf"{NOT_IN_A_NUMBER}(?!000|666|9)\d{{3}}-(?!00)\d\d-(?!0000)\d{{4}}{END}", re.ASCII)),
    Kind("a UK national insurance number", re.compile(rf"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]{END}", re.ASCII)),
    Kind("a telephone number", re.compile(rf"(?<![\w.+])\+[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,5}}\)?){{2,6}}{END}", re.ASCII), is_telephone),
    Kind(
        "a telephone number",
        re.compile(rf"{NOT_IN_A_NUMBER}(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{{4}}{END}", re.ASCII),
        is_telephone,
    ),
    Kind(
        "a telephone number",
        re.compile(
            r"(?:\b(?:tel|phone|telephone|mobile|fax|call|whatsapp|tel[eé]fono|m[oó]vil)\b|电话|手机)[ .:]{0,3}"
            r"(?:(?:number|at|is|no)[ .:]{1,3})?\(?\d[\d ()./-]{5,16}\d",
            re.IGNORECASE | re.ASCII,
        ),
        is_telephone,
    ),
)  # fmt: skip
"""A later kind is not looked for where an earlier one was found."""


def personal_data_in(text: str) -> list[tuple[str, str]]:
    """Kind and place of all personal data of a text, the longest-numbered kinds first; nothing counts twice."""
    left = unicodedata.normalize("NFKC", text)
    found = []
    for kind in KINDS:
        for match in kind.pattern.finditer(left):
            if kind.is_valid(match.group()):
                found.append((kind.name, match.group()))
        for _, value in found:
            left = left.replace(value, " ")
    return found


def personal_data_of(pair: Pair) -> tuple[float, str]:
    """Personal data in the question and the answer. The reason names kinds only: it is shown to whoever looks at the run."""
    found = [kind for text in (pair.question.text, pair.answer) for kind, _ in personal_data_in(text)]
    return len(found), f"question and answer hold {', '.join(sorted(set(found)))}"
