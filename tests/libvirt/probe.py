# SPDX-License-Identifier: MIT
"""What libvirt's first look at an emulator costs, by libvirtd's log."""
from rig import Failed


def measure(d):
    """(commands, bytes of their answers, seconds from the first command to the last answer) of the first probe."""
    talk, seen = [], False
    for t, sent, text in d.lv.dialogue():
        if sent and '"execute":"qmp_capabilities"' in text:
            if seen:
                break
            seen = True
        talk.append((t, sent, text))
    answers = [text for _, sent, text in talk if not sent]
    if not answers:
        raise Failed("no dialogue in libvirtd's log")
    return len(answers), sum(map(len, answers)), talk[-1][0] - talk[0][0]
