#!/usr/bin/env bash
# `npm run demo`: the main job on a real file system, from the first snapshot to a restored and proven backup. Every
# command is shown as one would type it, with what it really says; the first difference from what should be ends the
# demo with a line that names it. Needs bash, coreutils, gzip and node; uses e2fsprogs and xxhsum where they are.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
checks=0
work=

fail() {
  printf 'demo: FAILED: %s\n' "$1" >&2
  exit 1
}

note() {
  printf '\n# %s\n' "$1"
}

# Shows the command and runs it; its failure is the demo's.
run() {
  local status=0
  printf '$ %s\n' "$1"
  eval "$1" 2>&1 || status=$?
  [ "$status" -eq 0 ] || fail "\"$1\" ended with status $status"
  checks=$((checks + 1))
}

# Says what should be the same, and is not.
same() {
  [ "$2" = "$3" ] || fail "$1 differs: \"$2\" was expected, \"$3\" is there"
  checks=$((checks + 1))
}

has() {
  command -v "$1" >/dev/null 2>&1
}

clean_up() {
  local status=$?
  trap - EXIT
  if [ -n "$work" ]; then
    cd /
    rm -rf "$work"
  fi
  exit "$status"
}

prepare() {
  # mke2fs and its kin stand where only root looks.
  PATH=$PATH:/usr/sbin:/sbin
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  work=$(mktemp -d "${TMPDIR:-/tmp}/imgsnap-demo-XXXXXXXX")
  mkdir "$work/bin" "$work/demo"
  local command
  for command in create write read verify gc list; do
    [ -f "$root/dist/snap-$command.cjs" ] || fail "dist/snap-$command.cjs is missing: run npm install first"
    ln -s "$root/dist/snap-$command.cjs" "$work/bin/snap-$command"
  done
  PATH=$work/bin:$PATH
  cd "$work/demo"
}

make_image() {
  if has mke2fs; then
    note 'a disk image that holds real files'
    mkdir files
    cp -R "$root/cmd" "$root/core" files/
    printf 'buy milk\n' >files/notes.txt
    run 'mke2fs -q -t ext4 -d files disk.img 32M'
  else
    note 'there is no mke2fs here: a packed disk image that holds real files'
    cp "$root/fixtures/ext4.img.gz" ext4.img.gz
    run 'gzip -dc ext4.img.gz >disk.img'
  fi
}

# A plain copy of the image, changed as a mounted file system would change it.
edit_copy() {
  cp --sparse=auto disk.img edited.img
  if has debugfs && has mke2fs; then
    note 'work goes on: in a copy of the image one file is replaced, one removed, a directory made'
    printf 'buy bread\n' >new-notes.txt
    debugfs -w edited.img >debugfs.log 2>&1 <<'END' || fail 'debugfs could not edit the image'
rm notes.txt
write new-notes.txt notes.txt
rm core/base/errors.ts
mkdir letters
write new-notes.txt letters/draft.txt
END
    same 'the edited file' 'buy bread' "$(debugfs -R 'cat notes.txt' edited.img 2>/dev/null)"
  else
    note 'work goes on: a region in the middle of a copy of the image gets other content'
    seq 1 50000 | dd of=edited.img bs=4096 seek=1042 conv=notrunc status=none
  fi
  if cmp -s disk.img edited.img; then fail 'editing the copy of the image changed nothing'; fi
}

# The XXH64 of a file, by a tool that is not ours where there is one.
hash_restored() {
  if has xxhsum; then
    run 'xxhsum -q -H1 restored.img | tee restored.xxh64'
  else
    note 'there is no xxhsum here: the restored file is hashed by snap-read'
    # shellcheck disable=SC2016 # run expands it
    run 'echo "$(snap-read --digest restored.img 2>&1 >copy.img | cut -d: -f2)  restored.img" | tee restored.xxh64'
    run 'cmp copy.img restored.img'
  fi
}

check_restored() {
  note 'is that what was frozen? by hash …'
  run 'snap-verify --digest disk.img@monday | tee monday.xxh64'
  hash_restored
  same 'the hash of the restored image' "$(cut -c1-16 monday.xxh64)" "$(cut -c1-16 restored.xxh64)"
  # shellcheck disable=SC2016 # run expands it
  run 'echo "$(cut -c1-16 restored.xxh64)  disk.img@monday" | snap-verify --check - disk.img'
  same 'the SHA-256 of the restored image' "$frozen" "$(sha256sum <restored.img)"
  note '… byte by byte with a copy made on monday …'
  run 'cmp monday.img restored.img'
  if has e2fsck; then
    note '… and as a file system'
    run 'e2fsck -fn restored.img'
  else
    note 'LEFT OUT: there is no e2fsck here, so the restored file system is not checked as one'
  fi
  if has debugfs && has mke2fs; then
    run "debugfs -R 'cat notes.txt' restored.img 2>/dev/null"
    same 'the file in the restored image' 'buy milk' "$(debugfs -R 'cat notes.txt' restored.img 2>/dev/null)"
  fi
}

tour() {
  make_image
  frozen=$(sha256sum <disk.img)
  cp --sparse=auto disk.img monday.img

  note 'freeze it'
  run 'snap-create disk.img@monday'

  edit_copy
  note 'only what differs goes into the image, and what stood there into the snapshot'
  run 'snap-write --delta disk.img <edited.img'
  same 'the image after the write' "$(sha256sum <edited.img)" "$(sha256sum <disk.img)"
  run 'snap-create disk.img@tuesday'
  note 'an accident: the start of the image is wiped'
  run 'snap-write --zero 1M disk.img'

  note 'back up monday, while the image lives on, and restore the backup'
  run 'snap-read disk.img@monday | gzip >monday.img.gz'
  run 'gzip -dc monday.img.gz >restored.img'
  check_restored

  note 'is everything whole?'
  run 'snap-verify disk.img'
  run 'snap-list disk.img'

  note 'keep only the newest; it must still read as it did'
  run 'snap-verify --digest disk.img >digests'
  run 'snap-gc disk.img --keep-last 1'
  run 'snap-list disk.img'
  run 'snap-verify --check digests disk.img@tuesday'
  same 'the number of snapshots left' 1 "$(snap-list disk.img | tail -n +2 | wc -l)"

  note 'undo the accident'
  run 'snap-read disk.img@tuesday | snap-write --delta disk.img'
  run 'cmp edited.img disk.img'
}

prepare
tour
printf '\ndemo: all was as it should be (%d checks)\n' "$checks"
