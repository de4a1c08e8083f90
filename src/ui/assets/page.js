// What a script can add to pages that are whole without it: local times, copying, filtering while typing, `/` for the search box,
// rows and parts that come in live, and the check of a proof by the browser's own SHA-256.
(() => {
  const page = document.documentElement;
  page.classList.add('js'); // before anything is shown, so that nothing moves later

  const two = (number) => String(number).padStart(2, '0');

  /** The form that the server writes, in local time. */
  function localText(at) {
    const zone = new Intl.DateTimeFormat('en', { timeZoneName: 'short' })
      .formatToParts(at)
      .find(({ type }) => type === 'timeZoneName');
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${day} ${two(at.getHours())}:${two(at.getMinutes())} ${zone === undefined ? '' : zone.value}`;
  }

  function showLocalTimes(within) {
    for (const element of within.querySelectorAll('time[datetime]')) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      element.title = element.dateTime.replace('T', ' ').replace('Z', ' UTC');
      if (!element.hasAttribute('data-day')) element.textContent = localText(at);
    }
  }

  /** A narrow screen has no room for all sections: the one that is open is in the middle of those that it shows. */
  function showOpenSection() {
    const open = document.querySelector('nav.main [aria-current]');
    const sections = open?.parentElement;
    if (sections) sections.scrollLeft = open.offsetLeft - (sections.clientWidth - open.offsetWidth) / 2;
  }

  function focusSearch(event) {
    const typing = event.target.closest('input, textarea, select, [contenteditable]');
    if (event.key !== '/' || typing !== null || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = document.querySelector('form.search input');
    if (box === null) return;
    event.preventDefault();
    box.focus();
    box.select();
  }

  async function copy(button) {
    const lines = button.parentElement.querySelector('pre');
    // without the end of the last line, which a shell would take as Enter
    const text = button.dataset.copy || lines.textContent.replace(/\n$/, '');
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // without TLS there is no clipboard: select what stands beside it instead
      const beside = button.parentElement.querySelector('pre, code, .fpr');
      if (beside !== null) getSelection().selectAllChildren(beside);
      button.textContent = 'Selected';
      setTimeout(() => {
        button.textContent = said;
      }, 1500);
      return;
    }
    button.textContent = 'Copied';
    setTimeout(() => {
      button.textContent = said;
    }, 1500);
  }

  /** A page of this server, to take parts out of it. Null: it cannot be had now. */
  async function pageAt(address) {
    try {
      const answer = await fetch(address);
      if (answer.status === 429 || answer.status >= 500) return null;
      return new DOMParser().parseFromString(await answer.text(), 'text/html');
    } catch {
      return null; // the server is restarted, or the network is away
    }
  }

  /** Puts the part in place of the one with its id, and what has the focus keeps it. */
  function replacePart(part, fresh) {
    const made = document.importNode(fresh, true);
    const focused = part.contains(document.activeElement)
      ? document.activeElement.getAttribute('href')
      : null;
    showLocalTimes(made);
    part.replaceWith(made);
    if (focused !== null)
      [...made.querySelectorAll('a')].find((link) => link.getAttribute('href') === focused)?.focus();
    return made;
  }

  /** A part of the page that is not at its end yet: it is asked for again until it is. */
  function keepFresh(part) {
    setTimeout(async () => {
      const page = document.hidden ? null : await pageAt(location.href);
      if (page === null) return keepFresh(part);
      const fresh = page.getElementById(part.id);
      // the session is over, say: the whole page tells
      if (fresh === null) return location.reload();
      const made = replacePart(part, fresh);
      if (made.dataset.refresh !== undefined) keepFresh(made);
    }, 1000 * Number(part.dataset.refresh));
  }

  /** Rows that do not hold the text are hidden at once. Where there are more pages, the server is asked for those that hold it. */
  function filterWhileTyping(input) {
    const place = () => document.querySelector(input.dataset.filters);
    let asked = 0;
    let timer = null;
    const hideRows = (wanted) => {
      let visibleRows = 0;
      for (const row of place().querySelectorAll('tbody tr')) {
        const isFolder = row.classList.contains('folder');
        row.hidden = wanted !== '' && (isFolder || !row.dataset.text.includes(wanted));
        if (!row.hidden && !isFolder) visibleRows += 1;
      }
      const none = place().querySelector('[data-no-row]');
      if (none !== null) none.hidden = visibleRows > 0;
    };
    const askServer = async () => {
      asked += 1;
      const mine = asked;
      const address = new URL(input.form.action);
      address.search = new URLSearchParams(new FormData(input.form)).toString();
      const page = await pageAt(address);
      if (mine !== asked) return;
      if (page === null) {
        timer = setTimeout(askServer, 1000);
        return;
      }
      const fresh = page.querySelector(input.dataset.filters);
      if (fresh !== null) replacePart(place(), fresh);
    };
    input.addEventListener('input', () => {
      hideRows(input.value.trim().toLowerCase());
      clearTimeout(timer);
      if (input.form.dataset.pages !== undefined) timer = setTimeout(askServer, 250);
    });
  }

  /** Rows that come in by themselves: a new event above the others, or the newest reads in place of those before. */
  function followLive(button) {
    const status = document.querySelector('[data-live-status]');
    const place = () => document.getElementById('rows');
    let source = null;
    let last = 0;
    const stop = (text) => {
      source?.close();
      source = null;
      button.textContent = 'Follow';
      status.textContent = text;
    };
    const addRow = (event) => {
      // after a break the rows begin where they once began
      if (Number(event.lastEventId) <= last) return;
      last = Number(event.lastEventId);
      const made = new DOMParser().parseFromString(
        `<table><tbody>${event.data}</tbody></table>`,
        'text/html',
      );
      const [rows] = place().querySelector('table').tBodies;
      for (const row of made.querySelectorAll('tr')) {
        row.classList.add('fresh');
        showLocalTimes(row);
        rows.prepend(row);
      }
      while (rows.rows.length > 500) rows.lastElementChild.remove();
    };
    const replaceRows = (event) => {
      const before = new Set([...place().querySelectorAll('tbody tr')].map((row) => row.textContent));
      const fresh = new DOMParser().parseFromString(event.data, 'text/html').getElementById('rows');
      for (const row of replacePart(place(), fresh).querySelectorAll('tbody tr'))
        if (!before.has(row.textContent)) row.classList.add('fresh');
    };
    const start = () => {
      button.textContent = 'Stop';
      source = new EventSource(button.dataset.live);
      source.addEventListener('open', () => {
        status.textContent = 'Live: new rows appear here by themselves.';
      });
      source.addEventListener('error', () => {
        // the browser tries again, unless it was answered by something else than rows
        if (source?.readyState === EventSource.CLOSED)
          stop('Not followed: too many pages follow, or the session is over. Load the page again.');
        else status.textContent = 'Not connected; trying again …';
      });
      source.addEventListener('row', addRow);
      source.addEventListener('rows', (event) => {
        replaceRows(event);
        status.textContent = 'Live: new rows appear here by themselves.';
      });
      source.addEventListener('over', () => stop('Stopped: the session is over. Log in again.'));
      source.addEventListener('trouble', (event) => {
        status.textContent = event.data;
      });
    };
    button.addEventListener('click', () => {
      if (source === null) start();
      else stop('Stopped.');
    });
    if (button.dataset.liveAtOnce !== undefined) start();
  }

  const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const toHex = (bytes) =>
    [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const joined = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));

  /** RFC 6962, section 2.1: the root that leaf and path lead to. */
  async function rootOf(leaf, index, size, path) {
    let hash = await sha256(joined([0], leaf));
    let [at, last] = [index, size - 1];
    for (const beside of path) {
      if (last === 0) return null;
      if (at % 2 === 1 || at === last) {
        hash = await sha256(joined([1], beside, hash));
        while (at % 2 === 0 && at !== 0) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
      } else hash = await sha256(joined([1], hash, beside));
      [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
    }
    return last === 0 ? hash : null;
  }

  async function checkProof(place) {
    const { leaf, index, size, path, root } = place.dataset;
    const say = (kind, text) => {
      place.className = `note ${kind}`;
      place.textContent = text;
    };
    if (globalThis.crypto?.subtle === undefined) {
      say(
        'open',
        'This browser checks proofs only over HTTPS or on localhost. The command below checks it anywhere.',
      );
      return;
    }
    const computedRoot = await rootOf(
      new TextEncoder().encode(leaf),
      Number(index),
      Number(size),
      path === '' ? [] : path.split(' ').map(fromHex),
    );
    if (computedRoot !== null && toHex(computedRoot) === root)
      say('good', 'Checked in this browser: the leaf and its path give the root hash of the checkpoint.');
    else
      say(
        'wrong',
        'The leaf and its path do not give the root hash of the checkpoint. Keep this page, and check the log with: lookaside audit verify',
      );
  }

  /** All files below what was dropped or chosen, with their paths from there. */
  async function filesBelow(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [{ file, path: entry.fullPath.replace(/^\//, '') }];
    }
    const reader = entry.createReader();
    const files = [];
    for (;;) {
      // at most a hundred come at a time
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (entries.length === 0) return files;
      for (const below of entries) files.push(...(await filesBelow(below)));
    }
  }

  /** In a folder, layers and manifests lie beside signatures: they are not sent. */
  const isSignature = ({ path, file }) =>
    !path.includes('/') || (/(?:signature-\d+|-sha256-[0-9a-f]{64})$/.test(path) && file.size < 4194304);

  /** In batches, each answered by a page with receipts, whose rows are added to those of this page. */
  async function upload(form, chosen) {
    const receipts = document.querySelector('#receipts');
    const summary = receipts.querySelector('[data-summary]');
    const files = chosen.filter(isSignature);
    const collator = new Intl.Collator('en', { numeric: true });
    files.sort((one, other) => collator.compare(one.path, other.path));
    const left = chosen.length - files.length;
    const say = (done) => {
      const skipped = left === 0 ? '' : `, and ${left} left out that are no signatures`;
      const refused = receipts.querySelectorAll('tbody .state.wrong').length;
      summary.textContent = `${done} of ${files.length} files sent${skipped}; ${refused} refused.`;
    };
    say(0);
    receipts.scrollIntoView({ block: 'nearest' });
    for (let at = 0; at < files.length; ) {
      const body = new FormData();
      let bytes = 0;
      let count = 0;
      while (at + count < files.length && count < Number(form.dataset.most)) {
        const { file, path } = files[at + count];
        if (count > 0 && bytes + file.size > 8388608) break;
        body.append('signature', file, path);
        bytes += file.size;
        count += 1;
      }
      const answer = await fetch(form.action, { method: 'POST', body });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, 'text/html');
      const rows = page.querySelectorAll('#receipts tbody tr');
      if (!answer.ok || rows.length === 0) {
        const why = page.querySelector('main .note') ?? page.body;
        summary.textContent = `${at} of ${files.length} files were sent, then it ended: ${why.textContent.trim()}`;
        return;
      }
      for (const row of rows) receipts.querySelector('tbody').append(document.importNode(row, true));
      at += count;
      say(at);
    }
  }

  function takeUploads(form) {
    const attempt = (files) =>
      files
        .then((chosen) => upload(form, chosen))
        .catch((error) => {
          document.querySelector('#receipts [data-summary]').textContent =
            `The upload ended: ${error.message}`;
        });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const input = form.querySelector('input[type=file]');
      const chosen = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
      attempt(Promise.resolve(chosen));
    });
    if (!form.classList.contains('drop')) return;
    for (const type of ['dragenter', 'dragover']) {
      form.addEventListener(type, (event) => {
        event.preventDefault();
        form.classList.add('over');
      });
    }
    for (const type of ['dragleave', 'drop'])
      form.addEventListener(type, () => form.classList.remove('over'));
    form.addEventListener('drop', (event) => {
      event.preventDefault();
      // both are gone once this function has ended
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
      const files = [...event.dataTransfer.files].map((file) => ({ file, path: file.name }));
      attempt(
        entries.every((entry) => entry !== null)
          ? Promise.all(entries.map(filesBelow)).then((lists) => lists.flat())
          : Promise.resolve(files),
      );
    });
  }

  document.addEventListener('keydown', focusSearch);
  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-copy]');
    if (button !== null) copy(button);
  });
  document.addEventListener('DOMContentLoaded', () => {
    showLocalTimes(document);
    showOpenSection();
    for (const input of document.querySelectorAll('input[data-filters]')) filterWhileTyping(input);
    for (const button of document.querySelectorAll('button[data-live]')) followLive(button);
    for (const part of document.querySelectorAll('[data-refresh]')) keepFresh(part);
    for (const place of document.querySelectorAll('[data-proof]')) checkProof(place);
    for (const form of document.querySelectorAll('form[data-upload]')) takeUploads(form);
    for (const element of document.querySelectorAll('[data-zone]'))
      element.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  });
})();
