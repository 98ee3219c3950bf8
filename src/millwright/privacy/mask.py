"""Replaces personal data in texts, as the policies of `[privacy]` say.

Training and serving pass the same texts through the same function, so a model sees in service what it learnt.
"""

import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os.path import isdir

from millwright.modalities.places import Edit, Round, clean_with_edits
from millwright.privacy.detect import Detector, detector
from millwright.privacy.entities import ENTITIES, Span
from millwright.privacy.find_many import find_many
from millwright.privacy.surrogates import SURROGATED, holds_stand_in, surrogate
from millwright.privacy.vault import open_vault
from millwright.privacy.vault_tokens import TokenBook, Value, VaultToken
from millwright.project import Project
from millwright.settings import Policy, PrivacySection

MOST_ROUNDS = 16
Spans = tuple[Span, ...]
PURPOSE = "stand-ins of personal data"  # of the key that is derived from the pepper


@dataclass(frozen=True)
class Masker:
    """What is replaced, and by what. `masker` builds it; one without entities changes nothing.

    Without a `book`, what should get a token gets a plain placeholder, which is what models read anyway.
    """

    policies: dict[str, Policy]
    names: bool | str = True
    key: bytes = field(default=b"", repr=False)
    book: TokenBook | None = field(default=None, repr=False)

    @cached_property
    def detector(self) -> Detector | None:
        """What finds the entities that are not kept; None where all are."""
        wanted = frozenset(entity for entity, policy in self.policies.items() if policy != "keep")
        return detector(wanted, names=self.names) if wanted else None

    def mask(self, text: str) -> str:
        """One text of nobody with its personal data replaced."""
        return self.mask_all([text])[0]

    def mask_all(
        self,
        texts: Iterable[str],
        counts: Counter[str] | None = None,
        *,
        owners: Sequence[str | None] = (),
        taken: dict[str, VaultToken] | None = None,
        edits: Sequence[list[Round]] | None = None,
    ) -> list[str]:
        """Texts with their personal data replaced.

        What was replaced may be what hid something else, so a text is looked at again until nothing is
        found: masking what is masked changes nothing.

        Args:
            texts: any texts.
            counts: takes how often each entity was replaced.
            owners: the pseudonym of the person whose data each text is; all are nobody's where none is given.
            taken: takes the tokens that were put, for the caller to store before the texts; without it
                they are on disk when this returns.
            edits: a list a text, each of which takes the rounds of replacements that its text went through.

        Returns:
            As many texts, in order.
        """
        masked = list(texts)
        of = owners or [None] * len(masked)
        finder = self.detector
        due = list(range(len(masked))) if finder else []
        for _ in range(MOST_ROUNDS):
            if not due or finder is None:
                break
            changed = []
            found = find_many(finder, [masked[place] for place in due])
            tokens = self._tokens([(masked[at], of[at], spans) for at, spans in _some(due, found)], taken)
            for place, spans in _some(due, found):
                text, made = self._replaced(masked[place], of[place], spans, tokens, counts)
                if text != masked[place]:
                    masked[place] = text
                    changed.append(place)
                    if edits is not None:
                        edits[place].append(made)
            due = changed
        return masked

    def _tokens(
        self, found: Iterable[tuple[str, str | None, Spans]], taken: dict[str, VaultToken] | None
    ) -> dict[Value, str]:
        """The tokens of all values that get one."""
        if self.book is None:
            return {}
        values = [
            Value(owner, span.entity, text[span.start : span.end])
            for text, owner, spans in found
            for span in spans
            if self.policies[span.entity] == "tokenise"
        ]
        if taken is None:
            return self.book.kept(values)
        tokens = self.book.taken(values)
        taken |= {token.token: token for token in tokens.values()}
        return {value: token.token for value, token in tokens.items()}

    def _replaced(
        self,
        text: str,
        owner: str | None,
        spans: Spans,
        tokens: Mapping[Value, str],
        counts: Counter[str] | None,
    ) -> tuple[str, Round]:
        parts, made, end = [], list[Edit](), 0
        for span in spans:
            value = text[span.start : span.end]
            token = tokens.get(Value(owner, span.entity, value))
            put = self._stand_in(text, span) if token is None else f"<{span.entity}:{token}>"
            parts += [text[end : span.start], put]
            made.append(Edit(span.start, span.end, len(put)))
            end = span.end
            if counts is not None and put != value:
                counts[span.entity] += 1
        return "".join([*parts, text[end:]]), tuple(made)

    def _stand_in(self, text: str, span: Span) -> str:
        entity, value = span.entity, text[span.start : span.end]
        policy = self.policies[entity]
        if policy in ("mask", "tokenise"):
            return f"<{entity}>"
        if policy == "surrogate" and entity == "PERSON" and holds_stand_in(text, span.start, span.end):
            return value
        key = keyed_hash(self.key, entity, value)
        if policy == "surrogate" and entity in SURROGATED:
            return surrogate(entity, value, key)
        return f"<{entity}:{key[:8].hex()}>"


def _some(places: Iterable[int], found: Iterable[Spans]) -> Iterator[tuple[int, Spans]]:
    """The places of texts in which something was found, with what."""
    return ((place, spans) for place, spans in zip(places, found, strict=True) if spans)


UNMASKED = Masker({})


def policies_of(privacy: PrivacySection) -> dict[str, Policy]:
    """The policy of each entity: the settings', or its own default."""
    changed: dict[str, Policy] = {name: policy for name, policy in privacy.policies.items()}
    return {name: changed.get(name, entity.policy) for name, entity in ENTITIES.items()}


def masker(project: Project, *, reversible: bool = False) -> Masker:
    """What the settings of a project ask for.

    Args:
        project: an open project; its key store is made if a policy needs a key.
        reversible: whether texts will be kept, so that "tokenise" must give tokens; else they get
            placeholders, and nothing of them is stored.

    Returns:
        A masker; one that changes nothing where masking is turned off.
    """
    privacy = project.settings.privacy
    if not privacy.mask:
        return UNMASKED
    policies, vault = policies_of(privacy), open_vault(project)
    is_keyed = not {"surrogate", "pseudonymise"}.isdisjoint(policies.values())
    key = vault.keys.derived_key(PURPOSE) if is_keyed else b""
    has_tokens = reversible and "tokenise" in policies.values()
    return Masker(policies, names_of(project), key, TokenBook(vault) if has_tokens else None)


def names_of(project: Project) -> bool | str:
    """What finds names, as `privacy.names` says; a folder in the project by its whole path."""
    names = project.settings.privacy.names
    if isinstance(names, str) and isdir(project.folder / names):
        return str(project.folder / names)
    return names


def read_in(own: Masker, texts: Iterable[str]) -> tuple[list[str], list[list[Round]]]:
    """Texts as a model reads them, and the edits by which each became so.

    Args:
        own: what becomes of personal data.
        texts: as they came.

    Returns:
        Clean texts with personal data replaced, and the rounds of edits of each.
    """
    pairs = [clean_with_edits(text) for text in texts]
    edits = [rounds for _, rounds in pairs]
    return own.mask_all([text for text, _ in pairs], edits=edits), edits


def keyed_hash(key: bytes, entity: str, value: str) -> bytes:
    """HMAC-SHA256 of a value and its kind; case, and space at the ends and between words, do not count."""
    return hmac.digest(key, f"{entity}\0{' '.join(value.casefold().split())}".encode(), "sha256")
