// The installer for machines without lookaside: POSIX sh that says what it does, checks what it fetches, and takes itself back.
// Merging JSON is not for sh: where there is a policy.json, the server merges it, by the rule of policy-merge.ts.
import { LookasideError } from '../errors.ts';
import { quoted } from '../text.ts';

export interface SetupFacts {
  /** By which this machine reaches the server, without a slash at the end. */
  readonly url: string;
  /** The path and query by which the script was asked for. */
  readonly script: string;
  /** The registry's name, or that of all: the files of this set-up carry it. */
  readonly name: string;
  /** The SHA-256 of `name` in lower-case hex: tells names apart that one file name stands for. */
  readonly nameSha256: string;
  readonly registries: readonly string[];
  readonly keys: readonly {
    readonly fingerprint: string;
    readonly userId: string;
    /** Lower-case hex, of the binary file. */
    readonly sha256: string;
  }[];
  /** The queries by which the server merges a policy for these registries and keys, one after another. */
  readonly queries: readonly string[];
  /** Whether the server answers only with a token. Then TOKEN_PLACE stands for it in `registriesD`. */
  readonly isClosed: boolean;
  /** What is to be known of the keys. */
  readonly notes: readonly string[];
  readonly registriesD: string;
  /** Where there is none yet. */
  readonly policy: string;
}

/** In the URL of a closed server, where clients need the token for each signature. */
export const TOKEN_PLACE = 'LOOKASIDE_TOKEN_GOES_HERE';

/** @throws LookasideError REQUEST_INVALID for a URL that is not safe in a script */
export function setupScript(facts: SetupFacts): string {
  const { url, script, registries, keys, queries, registriesD, policy, notes } = facts;
  if (!SAFE_URL.test(url))
    throw new LookasideError(
      'REQUEST_INVALID',
      `the server is reached as ${quoted(url)}, which no script can be made for; set LOOKASIDE_PUBLIC_URL to its URL`,
    );
  const file = fileNameOf(facts);
  const rows = keys.map(({ fingerprint, sha256 }) => `${fingerprint} ${sha256}`).join('\n');
  const owners = keys.map(({ fingerprint, userId }) => `  ${fingerprint} ${plain(userId)}`);
  const about = [
    `This makes podman, skopeo, buildah and CRI-O on this machine demand signatures`,
    `for images of ${registries.join(', ')}, by one of these keys:`,
    ...owners,
    `Signatures come from ${url}.`,
    ...notes.map((note) => `note: ${plain(note, 500)}`),
  ];
  return `#!/bin/sh
# Installs what lookaside client-config installs, where lookaside is not installed. Read it before you run it:
#   curl -fsS '${url}${script}' | sh
# Options: sh -s -- [--dry-run] [--widen] [--undo] [--root FOLDER] [--token-file FILE]
# A server that answers only with a token wants one in LOOKASIDE_TOKEN or in the file.
set -eu

URL='${url}'
NAME='${file}'
QUERIES='${queries.join('\n')}'
CLOSED='${facts.isClosed ? 1 : ''}'
KEYS='${rows}'
REGISTRIES='${registries.join('\n')}'
ABOUT='${about.join('\n')}'

registries_d() {
  cat <<'LOOKASIDE_END'
${registriesD.trimEnd()}
LOOKASIDE_END
}

new_policy() {
  cat <<'LOOKASIDE_END'
${policy.trimEnd()}
LOOKASIDE_END
}

${BODY}`;
}

const SAFE_URL = /^https?:\/\/[A-Za-z0-9.:[\]-]+(?:\/[A-Za-z0-9._~/-]*)?$/;

/** More is cut, because a file name has 255 bytes at most, and some files get an ending. */
const MAX_NAME = 80;

/** No two names share one: where the slash is not all that is replaced, or where the name is cut, the end of the file name tells. */
function fileNameOf({ name, nameSha256 }: Pick<SetupFacts, 'name' | 'nameSha256'>): string {
  const safe = name.replace(/[^A-Za-z0-9.-]/g, '_');
  if (safe.length <= MAX_NAME && /^[A-Za-z0-9./-]+$/.test(name)) return `lookaside-${safe}`;
  return `lookaside-${safe.slice(0, MAX_NAME)}-${nameSha256.slice(0, 12)}`;
}

/** Below the root of a machine, where this set-up keeps what was there. */
export function setupFolderOf(facts: Pick<SetupFacts, 'name' | 'nameSha256'>): string {
  return `etc/containers/lookaside-setup/${fileNameOf(facts)}`;
}

/** A user id within quotes of sh, on one line. */
function plain(text: string, length = 100): string {
  return text.replace(/[^\p{L}\p{N} <>@.,;:()+_/-]/gu, '?').slice(0, length);
}

const BODY = String.raw`fail() {
  printf 'lookaside setup: %s\n' "$1" >&2
  exit 1
}

# stdin: a file; the SHA-256 in hex
sha256() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum | cut -d ' ' -f 1
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256 | cut -d ' ' -f 1
  elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r | cut -d ' ' -f 1
  else fail 'neither sha256sum nor shasum nor openssl is installed; install one of them'
  fi
}

# $1: a path below the root; links below it are not followed
refuse_links() {
  way=$ROOT
  rest=$1
  while [ -n "$rest" ]; do
    part=\${rest%%/*}
    case $rest in */*) rest=\${rest#*/} ;; *) rest= ;; esac
    way=$way/$part
    if [ -L "$way" ]; then fail "$way is a symbolic link, and nothing is written through links; put the file itself there"; fi
  done
}

# curl, with the token where there is one: never as an argument, which everybody on the machine sees
ask() {
  if [ -n "$TOKEN" ]; then printf 'header = "Authorization: Bearer %s"\n' "$TOKEN" | curl -K - "$@"
  else curl "$@"
  fi
}

read_token() {
  TOKEN=\${LOOKASIDE_TOKEN:-}
  if [ -n "$TOKEN_FILE" ]; then TOKEN=$(cat "$TOKEN_FILE") || fail "cannot read $TOKEN_FILE"; fi
  case $TOKEN in *[!A-Za-z0-9._-]*) fail 'the token has characters that no token of this server has; give it alone, on one line' ;; esac
  if [ -n "$CLOSED" ] && [ -z "$TOKEN" ]; then
    fail "$URL answers only with a token; give it in LOOKASIDE_TOKEN, or name a file with it: sh -s -- --token-file FILE"
  fi
}

fetch_keys() {
  printf '%s\n' "$KEYS" | while read -r fingerprint wanted; do
    ask -fsS "$URL/keys/$fingerprint.gpg" -o "$WORK/keys/$fingerprint.gpg" ||
      fail "cannot fetch $URL/keys/$fingerprint.gpg; nothing was changed"
    found=$(sha256 <"$WORK/keys/$fingerprint.gpg")
    [ "$found" = "$wanted" ] ||
      fail "the key $fingerprint has the SHA-256 $found, expected $wanted; nothing was changed. Fetch the script again"
  done
}

merge_policy() {
  old=$ETC/policy.json
  if [ ! -e "$old" ] && [ -e "$ROOT/usr/share/containers/policy.json" ]; then old=$ROOT/usr/share/containers/policy.json; fi
  if [ ! -e "$old" ]; then
    new_policy >"$WORK/policy.json"
    return
  fi
  cp "$old" "$WORK/policy.json"
  printf '%s\n' "$QUERIES" | while read -r query; do
    mv "$WORK/policy.json" "$WORK/before.json"
    merge_once "$query"
  done
}

# $1: a query; merges before.json into policy.json
merge_once() {
  status=$(ask -sS --data-binary "@$WORK/before.json" -H 'Content-Type: application/octet-stream' -D "$WORK/headers" \
    -o "$WORK/policy.json" -w '%{http_code}' "$URL/api/v1/client-config/podman?$1$WIDEN") ||
    fail "$URL does not answer; nothing was changed"
  if [ "$status" != 200 ]; then
    sed 's/.*"message":"//; s/","detail".*//; s/"}\].*//; s/\\"/"/g' "$WORK/policy.json" >&2
    fail "$old was not merged, and nothing was changed"
  fi
  wanted=$(tr -d '\r' <"$WORK/headers" | sed -n 's/^[Xx]-[Cc]hecksum-[Ss][Hh][Aa]256: *//p')
  found=$(sha256 <"$WORK/policy.json")
  [ "$found" = "$wanted" ] || fail "the merged policy did not arrive whole; nothing was changed"
  tr -d '\r' <"$WORK/headers" | sed -n 's/^[Xx]-[Ll]ookaside-[Nn]ote-[0-9]*: */note: /p' >&2
}

# clients refuse every pull while a section stands in two files
refuse_second_section() {
  for file in "$ETC"/registries.d/*.yaml "$ROOT"/usr/share/containers/registries.d/*.yaml; do
    if [ ! -f "$file" ] || [ "$file" = "$ETC/registries.d/$NAME.yaml" ]; then continue; fi
    # podman 6 reads that folder too, but no file of it whose name is in /etc
    other=$ETC/registries.d/$(basename "$file")
    if [ "$file" != "$other" ] && [ -e "$other" ]; then continue; fi
    printf '%s\n' "$REGISTRIES" | while read -r registry; do
      if has_section "$file" "$registry"; then
        fail "$file has a section for $registry already; take it out there, or give it the URL $URL by hand (a file of /usr/share: in a copy below $ETC/registries.d). Nothing was changed"
      fi
    done
  done
}

has_section() {
  awk -v name="$2" '
    {
      sub(/#.*/, "")
      gsub(/["\047]/, "")
      while ((at = index($0, name ":")) > 0) {
        before = at == 1 ? " " : substr($0, at - 1, 1)
        behind = substr($0, at + length(name) + 1, 1)
        if (before ~ /[ \t{,]/ && (behind == "" || behind ~ /[ \t{\r]/)) found = 1
        $0 = substr($0, at + length(name) + 1)
      }
    }
    END { exit !found }' "$1"
}

# $1: a path below the root; $2: the new file. Puts it there by a rename, and keeps what was there once
place() {
  to=$ROOT/$1
  kept=$KEEP/$(printf %s "$1" | tr / %)
  if [ -f "$to" ] && cmp -s "$to" "$2"; then return; fi
  mkdir -p "$(dirname "$to")"
  if [ ! -e "$kept.before" ] && [ ! -e "$kept.absent" ]; then
    if [ -e "$to" ]; then cp -p "$to" "$kept.before.new" && mv "$kept.before.new" "$kept.before"; else : >"$kept.absent"; fi
  fi
  if [ -e "$to" ]; then cp -p "$to" "$to.lookaside-new"; else : >"$to.lookaside-new" && chmod 644 "$to.lookaside-new"; fi
  if ! cat "$2" >"$to.lookaside-new"; then
    rm -f "$to.lookaside-new"
    fail "cannot write $to.lookaside-new; $to is as it was"
  fi
  cp "$2" "$kept.after" || fail "cannot write $kept.after; $to is as it was"
  mv "$to.lookaside-new" "$to"
  printf 'written %s\n' "$to"
}

# $1: a path of a copy; the file that it is a copy of
kept_of() {
  printf '%s/%s' "$ROOT" "$(basename "\${1%.after}" | tr % /)"
}

take_back() {
  kept=\${1%.after}
  to=$(kept_of "$1")
  if [ -e "$kept.before" ]; then
    cp -p "$kept.before" "$to.lookaside-new"
    mv "$to.lookaside-new" "$to"
    printf 'restored %s\n' "$to"
  else
    rm -f "$to"
    printf 'removed %s\n' "$to"
  fi
  rm -f "$1" "$kept.before" "$kept.absent"
}

undo() {
  [ -d "$KEEP" ] || fail "there is nothing to take back: $KEEP is not there"
  for after in "$KEEP"/*.after; do
    to=$(kept_of "$after")
    if [ -e "$to" ] && [ -e "$after" ] && ! cmp -s "$to" "$after"; then
      fail "$to has been changed since, and nothing was taken back; what was there before is in \${after%.after}.before"
    fi
  done
  # the policy first: at no moment does it name a key that is gone
  for after in "$KEEP"/*policy.json.after "$KEEP"/*.after; do
    if [ -e "$after" ]; then take_back "$after"; fi
  done
  rm -rf "$KEEP"
  rmdir "$ETC/lookaside-setup" 2>/dev/null || :
}

main() {
  ROOT=
  WIDEN=
  DRY=
  UNDO=
  TOKEN_FILE=
  while [ $# -gt 0 ]; do
    case $1 in
      --dry-run) DRY=1 ;;
      --widen) WIDEN='&widen=1' ;;
      --undo) UNDO=1 ;;
      --root)
        [ $# -gt 1 ] || fail '--root needs a folder'
        ROOT=$(cd "$2" && pwd -P) || fail "$2 is not a folder"
        [ "$ROOT" = / ] && ROOT=
        shift
        ;;
      --token-file)
        [ $# -gt 1 ] || fail '--token-file needs a file'
        TOKEN_FILE=$2
        shift
        ;;
      *) fail "unknown option $1; known are --dry-run, --widen, --undo, --root FOLDER and --token-file FILE" ;;
    esac
    shift
  done
  if [ -z "$ROOT" ] && [ "$(id -u)" != 0 ]; then fail "it writes to /etc/containers, and you are not root; pipe it into: sudo sh"; fi
  command -v curl >/dev/null 2>&1 || fail 'curl is not installed; install it'
  ETC=$ROOT/etc/containers
  KEEP=$ETC/lookaside-setup/$NAME
  for path in etc/containers/policy.json "etc/containers/registries.d/$NAME.yaml" etc/containers/keys "etc/containers/lookaside-setup/$NAME"; do
    refuse_links "$path"
  done
  if [ -n "$UNDO" ]; then
    undo
    return
  fi
  read_token
  printf '%s\n' "$ABOUT"
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  mkdir "$WORK/keys"
  fetch_keys
  printf 's/LOOKASIDE_TOKEN_GOES_HERE/%s/g\n' "$TOKEN" >"$WORK/token.sed"
  registries_d | sed -f "$WORK/token.sed" >"$WORK/registries.yaml"
  refuse_second_section
  merge_policy
  printf 'It writes:\n'
  printf '%s\n' "$KEYS" | while read -r fingerprint wanted; do
    refuse_links "etc/containers/keys/$fingerprint.gpg"
    printf '  %s/keys/%s.gpg (SHA-256 %s)\n' "$ETC" "$fingerprint" "$wanted"
  done
  printf '  %s/registries.d/%s.yaml\n  %s/policy.json\n' "$ETC" "$NAME" "$ETC"
  if [ -n "$DRY" ]; then
    printf 'and has written nothing, because of --dry-run. The policy would be:\n'
    cat "$WORK/policy.json"
    return
  fi
  umask 022
  mkdir -p "$KEEP"
  printf '%s\n' "$KEYS" | while read -r fingerprint wanted; do
    place "etc/containers/keys/$fingerprint.gpg" "$WORK/keys/$fingerprint.gpg"
  done
  place "etc/containers/registries.d/$NAME.yaml" "$WORK/registries.yaml"
  place etc/containers/policy.json "$WORK/policy.json"
  if [ -n "$(ls -A "$KEEP")" ]; then
    printf 'Done. What was there is kept in %s. To take it back, pipe the script into: sh -s -- --undo\n' "$KEEP"
  else
    rmdir "$KEEP" "$ETC/lookaside-setup" 2>/dev/null || :
    printf 'Nothing had to be changed: everything is there.\n'
  fi
}

# only a whole script gets here
main "$@"
`.replaceAll('\\${', '${');
