"""Texts of any language compared and counted: what is the same, how much two have in common, how many words one has.

ROUGE-L is computed by bit-parallel LCS in compiled code, so that thousands of texts are held against thousands.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_THOUGHT = re.compile(r"</?(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_SURROGATES, _CODE_POINTS = range(0xD800, 0xE000), 0x10FFFF
_RARE_SHARED = 2  # rare tokens that two close texts share: with one there are twenty times as many to compare
_ROUNDING = 1e-9  # far below the distance of two different F1 of texts that a model reads
# Scripts that are written without spaces between words: first and last code point, characters to a word. What a word is
# there is a matter of segmentation; these are the usual means of it.
_UNSPACED = (
    (0x0E00, 0x0EFF, 4.0),  # Thai, Lao
    (0x1000, 0x109F, 4.0),  # Burmese
    (0x1780, 0x17FF, 4.0),  # Khmer
    (0x1950, 0x19DF, 4.0),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF, 4.0),  # Tai Tham
    (0x3005, 0x3007, 1.5),  # the signs of repetition and of zero among Han
    (0x3040, 0x30FF, 3.0),  # Hiragana, Katakana
    (0x31F0, 0x31FF, 3.0),
    (0x3400, 0x4DBF, 1.5),  # Han
    (0x4E00, 0x9FFF, 1.5),
    (0xA9E0, 0xA9FF, 4.0),  # Burmese
    (0xAA60, 0xAA7F, 4.0),
    (0xF900, 0xFAFF, 1.5),  # Han
    (0x1AFF0, 0x1B16F, 3.0),  # Kana
    (0x20000, 0x3FFFF, 1.5),  # Han
)


def without_thoughts(text: str) -> str:
    """What a model says after it has thought: neither what tags enclose, nor what stands before an end without a
    beginning (which the chat template gave), nor a thought that never ends."""
    said, start, inside = [], 0, False
    for tag in _THOUGHT.finditer(text):
        begins = not tag[0].startswith("</")
        if begins and not inside:
            said.append(text[start : tag.start()])
        elif not begins and not inside:
            said.clear()
        start, inside = tag.end(), begins
    return "".join(said) + ("" if inside else text[start:])


def normalised(text: str) -> str:
    """The text as prompts are compared: without differences of case, of spaces or of Unicode's compatibility forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(text: str) -> list[str]:
    """The tokens that ROUGE-L compares: runs of letters and digits, single characters where words have no spaces.

    On ASCII these are the tokens of rouge_score without stemming. A letter keeps its marks (vowel signs, tones,
    accents); case, compatibility forms and invisible format characters make no difference.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        return _ASCII_WORD.findall(text)
    found: list[str] = []
    joins = False  # whether a letter or digit would go on with the token before it
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cf" or (kind[0] == "M" and not found):
            continue
        alone = characters_per_word(character) is not None
        if kind[0] == "M":
            found[-1] += character
        elif kind[0] not in "LN":
            joins = False
        elif alone or not joins:
            found.append(character)
            joins = not alone
        else:
            found[-1] += character
    return found


def word_count(text: str) -> int:
    """Words between spaces; where a script has none they are estimated from its characters, rounded up."""
    unspaced, rest = 0.0, []
    for character in unicodedata.normalize("NFKC", text):
        per_word = characters_per_word(character)
        if per_word is None:
            rest.append(character)
        else:
            unspaced += unicodedata.category(character)[0] in "LN" and 1 / per_word
            rest.append(" ")
    # a mark or a full stop alone is no word: among unspaced characters it would be one
    spaced = [word for word in "".join(rest).split() if not unspaced or any(one.isalnum() for one in word)]
    return len(spaced) + math.ceil(unspaced - 1e-9)


def characters_per_word(character: str) -> float | None:
    """How many characters make a word where the script has no spaces; None where it has them."""
    point = ord(character)
    if point < _UNSPACED[0][0]:
        return None
    return next((per_word for first, last, per_word in _UNSPACED if first <= point <= last), None)


def rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    """ROUGE-L F1 of two token lists (Lin 2004): 2 LCS / (len + len), 0 when either is empty."""
    if not first or not second:
        return 0.0
    return 2 * LCSseq.similarity(first, second) / (len(first) + len(second))


class TextPool:
    """Texts that others are compared with by ROUGE-L, of which those count whose F1 is above `above`.

    Compared are candidates only, found by the tokens that few texts hold (the prefix filter of Chaudhuri et al. 2006,
    for two tokens as Wang et al. 2012 have it): 2 LCS / (n + m) > t needs s > n t / (2 - t) of either text's n tokens
    to be shared. So the rarest n - s + 2 of both, in one order of all tokens, have two in common, or all s.
    """

    def __init__(self, texts: Iterable[str] = (), above: float = 0.0) -> None:
        self.above = above
        self.texts: list[str] = []
        self._encoded: list[str] = []
        # A token as one character, for compiled code compares strings fastest: the rarer, the higher. Of the first ones
        # texts are counted; one that is met later is rarer than all before it, for the order must not change.
        self._characters: dict[str, str] = {}
        self._with: dict[str, dict[int, list[int]]] = {}  # places of texts by one of their rarest tokens and by length
        first = list(texts)
        held = Counter(token for text in first for token in set(tokens(text)))
        for token, _ in held.most_common():
            self._character(token)
        for text in first:
            self.add(text)

    def add(self, text: str) -> None:
        encoded = self._encode(text)
        for token in self._rarest(encoded):
            self._with.setdefault(token, {}).setdefault(len(encoded), []).append(len(self.texts))
        self.texts.append(text)
        self._encoded.append(encoded)

    def closest(self, text: str) -> tuple[str, float] | None:
        """The text with the highest ROUGE-L F1 above `above`, the first of equals, and that number; None without."""
        encoded = self._encode(text)
        places = self._candidates(encoded)
        # similarity by insertions and deletions alone, over both lengths, is ROUGE-L's F1
        found = process.extractOne(
            encoded,
            [self._encoded[place] for place in places],
            scorer=Indel.normalized_similarity,
            score_cutoff=max(self.above - _ROUNDING, 0.0),
        )
        score = rouge_l(encoded, found[0]) if found else 0.0
        return (self.texts[places[found[2]]], score) if found and score > self.above else None

    def _candidates(self, encoded: str) -> list[int]:
        """Places of all texts that can come above: rare tokens are shared, and the shorter one is long enough."""
        own, above = len(encoded), self.above
        held: dict[int, list[int]] = {}  # places by length, one as often as it shares a token
        for token in self._rarest(encoded):
            for other, places in self._with.get(token, {}).items():
                if 2 * min(own, other) > above * (own + other):
                    held.setdefault(other, []).extend(places)
        found: list[int] = []
        for other, places in held.items():
            few = above * (own + other) < 2 * _RARE_SHARED  # tokens make such short texts close
            found += set(places) if few else [place for place, n in Counter(places).items() if n >= _RARE_SHARED]
        return sorted(found)

    def _rarest(self, encoded: str) -> list[str]:
        """The rarest tokens of a text, of which some are shared with each that is close enough; twice "a" is a, aa."""
        shared = int(len(encoded) * self.above / (2 - self.above) - _ROUNDING) + 1
        ordered = sorted(encoded, reverse=True)[: len(encoded) - shared + _RARE_SHARED]
        return [token * (place - ordered.index(token) + 1) for place, token in enumerate(ordered)]

    def _encode(self, text: str) -> str:
        return "".join(map(self._character, tokens(text)))

    def _character(self, token: str) -> str:
        """One character a token; beyond a million different tokens two may share one."""
        point = len(self._characters) % (_CODE_POINTS - len(_SURROGATES))
        new = chr(point if point < _SURROGATES.start else point + len(_SURROGATES))
        return self._characters.setdefault(token, new)
