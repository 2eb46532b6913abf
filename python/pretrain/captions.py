"""Captions: the rule of a clip in words, as text-to-video models are trained on clips with a text.

Without them the first frame alone decides, and many rules fit it: where all is noise the transformer could learn no more
than the mean of what they do.  A word is a slot and a value, 'recolour: what 3 becomes' and '5', and is one text token,
so that attention can look it up.  Clips without a caption have the fixed prompt, the one that is shipped.
"""
import numpy as np
import torch

from model import prompt_embeds
from phase_parts import TEXT_DIM

SLOTS, TIMES, VALUES, FAMILIES = 20, 7, 16, 32
WORDS = 1 + SLOTS + TIMES + 1                               # of a caption at most, and the view (families.turned)
TOKENS = 18                                                 # words of a caption; zeros where there are fewer


def caption(n, family, words, times):
    """Numbers of the words of n clips [n,WORDS] int16, slot * VALUES + value, -1 where there is none: the family, its
    rule, its time.  Of what is true or false only the true has a word."""
    out = np.full((n, WORDS), -1, np.int16)
    common = (FAMILIES - 1) * SLOTS                         # slots of no family: the times', then which family
    out[:, 0] = (common + TIMES) * VALUES + family
    for of, first, at in ((words, family * SLOTS, 1), (times, common, 1 + SLOTS)):
        for slot, value in enumerate(of):
            value = np.asarray(value)
            value = np.where(value, 1, -1) if value.dtype == bool else value.astype(int)
            out[:, at + slot] = np.where((value >= 0) & (value < VALUES), (first + slot) * VALUES + value, -1)
    return out


SYMMETRIES, COLOURS = 8, 64                                 # of views


def view_embeds():
    """What tells a view: a token for the symmetry [SYMMETRIES,TEXT_DIM], one for the colours [COLOURS,TEXT_DIM]; those
    of the task as it is are the prompt."""
    g = torch.Generator().manual_seed(228)
    return tuple(torch.cat([prompt_embeds()[:, i], torch.randn(n - 1, TEXT_DIM, generator=g)])
                 for i, n in enumerate((SYMMETRIES, COLOURS)))


def view_prompts(n):
    """[n,2,TEXT_DIM]: the prompts of n views, as the program has them: the symmetries in turn, each with other colours."""
    symmetries, colours = view_embeds()
    k = torch.arange(n)
    return torch.stack([symmetries[k % SYMMETRIES], colours[k]], 1)


class Views:
    """Captions [B,WORDS] -> the two tokens that describe in which view each clip is, [B,2,TEXT_DIM].  How colours are
    exchanged is not known of a clip (its caption names the colours): the token is any of that sort."""

    def __init__(self, device="cpu"):
        self.symmetries, self.colours = (x.to(device) for x in view_embeds())

    def __call__(self, words):
        symmetry = torch.as_tensor(words, device=self.symmetries.device).long()[:, -1].clamp(min=0)
        colours = torch.randint(COLOURS, symmetry.shape, device=symmetry.device)
        return torch.stack([self.symmetries[symmetry], self.colours[colours]], 1)


class Text:
    """Captions [B,WORDS] -> text tokens [B,TOKENS,TEXT_DIM]: a random, fixed vector for the slot and one for the value."""

    def __init__(self, device="cpu"):
        g = torch.Generator().manual_seed(227)
        self.slots, self.values = (torch.randn(n, TEXT_DIM, generator=g).to(device) / 2 ** .5
                                   for n in (FAMILIES * SLOTS, VALUES))

    def __call__(self, words):
        words = torch.as_tensor(words, device=self.slots.device).long()
        words = words[:, :-1]
        first = torch.argsort((words < 0).int(), dim=1, stable=True)[:, :TOKENS]         # words before gaps
        words = words.gather(1, first)
        return (self.slots[words.clamp(min=0) // VALUES] + self.values[words % VALUES]) * (words >= 0)[..., None]

    def uncaptioned(self, words):
        """The prompt."""
        return None


class ViewedText:
    """The view, then the caption: [B,2+TOKENS,TEXT_DIM]."""

    def __init__(self, device="cpu"):
        self.uncaptioned, self.text = Views(device), Text(device)

    def __call__(self, words):
        return torch.cat([self.uncaptioned(words), self.text(words)], 1)
