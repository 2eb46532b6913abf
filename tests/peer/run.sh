#!/bin/sh
# Every peer check, each with fresh random models: builds a virtual environment if there is none, then
# runs tests/peer/*.py except the shared modules and accuracy.py (a table); then the checks of pretraining, in the same
# environment. VDM_VENV names an existing one.
set -eu
cd "$(dirname "$0")/../.."
venv=${VDM_VENV:-build/venv}
here=tests/peer
if ! "$venv/bin/python" -c 'import torch, diffusers, peft, transformers, sentencepiece, skimage, sklearn, pycocotools' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch==2.13.0
    "$venv/bin/pip" install -q -r $here/requirements.txt
fi
programs=
for script in $here/*.py; do
    case $script in
    */common.py | */accuracy.py) ;;
    *) programs="$programs $script" ;;
    esac
done
export PYTHON="$venv/bin/python" VDM_PEER_FULL=1 VDM="${VDM_PEER_BUILD:-build/peer}/vdm"
exec tests/run.sh $programs python/pretrain/test_pretrain.py
