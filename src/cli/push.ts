// lookaside push: sends staged signatures to a server, once or with --watch until it is stopped.
import { connectLogOf, connectServer, openJobTokens } from '../compose/client.ts';
import { composePush, openStaging } from '../compose/push.ts';
import type { Config } from '../config.ts';
import type { LookasideError } from '../domain/errors.ts';
import type { Receipt } from '../domain/receipt.ts';
import type { OnRetry, SignatureServer } from '../domain/remote.ts';
import type { Staged } from '../domain/staged.ts';
import { escapeJson, escapeTerminal, quoted } from '../domain/text.ts';
import type { Placing, PushedImage } from '../service/push.ts';
import type { WatchEvent } from '../service/push-watch.ts';
import type { TokenSource } from '../upstream/connection.ts';
import type { SentToken } from '../upstream/job-token.ts';
import { createProgressBar, type ProgressBar } from './progress.ts';
import {
  behindGaps,
  createTally,
  formatImage,
  formatSummary,
  formatUnsent,
  isMisrooted,
  MISROOTED,
  NOTHING_FOUND,
  type Summary,
  toJson,
} from './push-report.ts';
import { formatProblem, formatStrangers } from './staged-report.ts';
import { catchStopSignals, type Stopping } from './stop-signals.ts';
import { createRetryTeller, EXIT, exitCodeOf, plural, print, printJson, tellRetry } from './terminal.ts';

export interface PushCommand {
  readonly paths: readonly string[];
  readonly force: boolean;
  readonly placing: Placing;
  readonly dryRun: boolean;
  /** Whether having found nothing to push is a failure. */
  readonly requireSome: boolean;
  /** The folder for the proofs of what was uploaded; null: none are wanted. */
  readonly proof: string | null;
  /** Whether the OIDC token of the job is sent. */
  readonly isOidc: boolean;
  readonly json: boolean;
}

/**
 * EXIT.done when all is on the server. EXIT.failed when something was refused or could not be read, or when nothing was found and
 * something was required. EXIT.usage when the server or a folder could not be reached. 130 or 143 after SIGINT or SIGTERM.
 */
export async function runPush(config: Config, command: PushCommand): Promise<number> {
  const startedMs = performance.now();
  const stopping = catchStopSignals();
  const report = createReport(command);
  const tokens = command.isOidc ? await openJobTokens(config, report.sends) : undefined;
  await using connection = connect(config, stopping, { onRetry: createRetryTeller(report.note), tokens });
  const { server } = connection;
  const staging = openStaging();
  const { pusher } = composePush(server, staging, command.placing);
  try {
    const staged = await staging.find(command.paths, report.finding);
    report.begin(staged);
    const { force, dryRun } = command;
    const receipts: Receipt[] = [];
    const listener = {
      onImage: report.image,
      onProgress: report.progress,
      onReceipt: (receipt: Receipt) => void receipts.push(receipt),
    };
    const end = await pusher.push(staged.files, { force, dryRun, signal: stopping.signal }, listener);
    const { sentBytes, unsent } = end;
    await prove(config, command, { receipts, tokens });
    const tookMs = performance.now() - startedMs;
    const failure = stopping.exitCode() === null ? (end.stopped?.failure ?? null) : null;
    const summary = report.end({ sentBytes, tookMs, server: server.name }, { unsent, failure });
    const { refused, problem, unsent: left } = summary.counts;
    const status = stopping.exitCode() ?? (failure === null ? null : cannotTry(failure));
    if (left > 0 && !dryRun) report.note(formatUnsent(left));
    if (status !== null) return status;
    const isNothing = command.requireSome && staged.files.length === 0;
    return refused + problem > 0 || isNothing ? EXIT.failed : EXIT.done;
  } catch (error) {
    report.clear();
    throw error;
  }
}

/** @throws LookasideError when a proof cannot be made or written */
async function prove(
  config: Config,
  { proof: folder }: PushCommand,
  { receipts, tokens }: { readonly receipts: readonly Receipt[]; readonly tokens: TokenSource | undefined },
): Promise<void> {
  if (folder === null || receipts.length === 0) return;
  await using log = await connectLogOf(config, {
    onRetry: tellRetry,
    ...(tokens === undefined ? {} : { tokens }),
  });
  const { writeProofs } = await import('./proof-files.ts');
  await writeProofs(log, { folder, receipts });
}

/** Whatever the server said to the whole of it, the token not being known among it: nothing was wrong with a file. */
function cannotTry(failure: LookasideError): number {
  exitCodeOf(failure);
  return EXIT.usage;
}

interface Connected extends AsyncDisposable {
  readonly server: SignatureServer;
}

/** When push is stopped, the server has this long to answer requests that are under way. */
const GRACE_MS = 10_000;

/** The server; when it is stopped, no other try is waited for. */
function connect(
  config: Config,
  { signal }: Stopping,
  {
    onRetry,
    tokens,
    patienceMs,
  }: {
    readonly onRetry: OnRetry;
    readonly tokens: TokenSource | undefined;
    readonly patienceMs?: number;
  },
): Connected {
  let waitsUntilMs = 0;
  const server = connectServer(config, {
    onRetry(retry) {
      waitsUntilMs = performance.now() + retry.waitMs;
      if (signal.aborted) close();
      else onRetry(retry);
    },
    ...(patienceMs === undefined ? {} : { patienceMs }),
    ...(tokens === undefined ? {} : { tokens }),
  });
  const close = () => void server[Symbol.asyncDispose]();
  signal.addEventListener('abort', () => {
    if (performance.now() < waitsUntilMs) close();
    else setTimeout(close, GRACE_MS).unref();
  });
  return { server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

interface Report {
  finding(files: number): void;
  begin(staged: Staged): void;
  image(pushed: PushedImage): void;
  progress(progress: { readonly files: number; readonly sentBytes: number }): void;
  /** An OIDC token that will be sent. */
  sends(token: SentToken): void;
  /** For people, on standard error. */
  note(text: string): void;
  end(
    summary: Omit<Summary, 'counts'>,
    rest: { readonly unsent: number; readonly failure: LookasideError | null },
  ): Summary;
  clear(): void;
}

function createReport({ json, dryRun }: PushCommand): Report {
  const tally = createTally();
  const bar = createProgressBar({
    what: dryRun ? 'asking' : 'pushing',
    output: process.stderr,
    nowMs: () => performance.now(),
  });
  const images: object[] = [];
  let staged: Staged = { files: [], problems: [], gaps: [], strangers: { count: 0, first: [] } };
  let hidden: ReadonlySet<string> = new Set();
  let hasMisrooted = false;
  let sent: SentToken | null = null;

  const note = (text: string) => noteBeside(bar, text);

  return {
    finding: (files) => bar.say(`looking: ${plural(files, 'signature')} found`),
    begin(stagedFiles) {
      bar.clear();
      staged = stagedFiles;
      hidden = behindGaps(stagedFiles.gaps);
      tally.addProblems(stagedFiles.problems.length);
    },
    image(pushed) {
      tally.add(pushed);
      hasMisrooted ||= isMisrooted(pushed);
      if (json) images.push(toJson(pushed));
      else printBeside(bar, formatImage(pushed, hidden));
    },
    sends(token) {
      sent = token;
      note(formatSent(token));
    },
    progress: ({ files, sentBytes }) => bar.show({ done: files, total: staged.files.length, sentBytes }),
    note,
    end(measured, { unsent, failure }) {
      bar.clear();
      tally.addUnsent(unsent);
      const summary = { ...measured, counts: tally.counts() };
      if (json) {
        const { problems, gaps, strangers } = staged;
        const oidc = sent === null ? {} : { oidc: sent };
        printJson({
          images,
          problems,
          gaps,
          strangers,
          summary: { ...summaryJson(summary, dryRun, failure), ...oidc },
        });
      } else {
        for (const problem of staged.problems) print(formatProblem(problem));
        const strangers = formatStrangers(staged.strangers);
        if (strangers !== null) note(strangers);
        if (staged.files.length === 0) note(NOTHING_FOUND);
        if (hasMisrooted) note(MISROOTED);
        if (dryRun) note('nothing was sent, because of --dry-run');
        print(formatSummary(summary));
      }
      return summary;
    },
    clear: bar.clear,
  };
}

function summaryJson(
  { counts, sentBytes, tookMs, server }: Summary,
  dryRun: boolean,
  failure: LookasideError | null,
): object {
  return {
    ...counts,
    sentBytes,
    tookMs: Math.round(tookMs),
    server,
    dryRun,
    failure: failure === null ? null : { code: failure.code, message: failure.message },
  };
}

function printBeside(bar: ProgressBar, text: string): void {
  bar.clear();
  print(text);
}

function noteBeside(bar: ProgressBar, text: string): void {
  bar.clear();
  process.stderr.write(`lookaside: ${escapeTerminal(text)}\n`);
}

/** Never the token itself: whoever reads the log of a job could use it. */
function formatSent({ issuer, subject, audience, expiresAt }: SentToken): string {
  const until = expiresAt === null ? '' : `, valid until ${expiresAt.toISOString()}`;
  return `sending the OIDC token of ${issuer} for ${quoted(subject)}, made for the audience ${audience}${until}`;
}

export interface WatchCommand {
  readonly paths: readonly string[];
  readonly force: boolean;
  readonly placing: Placing;
  /** Whether the OIDC token of the job is sent. */
  readonly isOidc: boolean;
  readonly json: boolean;
}

/** Short, because the watch itself waits for the server: this is for connections that break once. */
const WATCH_PATIENCE_MS = 2000;

/** EXIT.done after SIGINT or SIGTERM; EXIT.usage when a folder is not there at the start, or the token is wrong. */
export async function runPushWatch(config: Config, command: WatchCommand): Promise<number> {
  const { paths, force, placing, isOidc, json } = command;
  const stopping = catchStopSignals();
  const tellToken = (token: SentToken) => {
    if (json) print(escapeJson(JSON.stringify({ event: 'oidc', ...token })));
    else process.stderr.write(`lookaside: ${escapeTerminal(formatSent(token))}\n`);
  };
  const tokens = isOidc ? await openJobTokens(config, tellToken) : undefined;
  await using connection = connect(config, stopping, {
    onRetry: () => undefined,
    tokens,
    patienceMs: WATCH_PATIENCE_MS,
  });
  const { server } = connection;
  const { watch } = composePush(server, openStaging(), placing);
  const { signal } = stopping;
  const tell = createTeller(server.name);
  const onEvent = json ? (event: WatchEvent) => printLine(event) : tell;
  try {
    await watch({ roots: paths, force, signal, onEvent });
  } catch (error) {
    if (signal.aborted) return EXIT.done;
    exitCodeOf(error);
    return EXIT.usage;
  }
  return EXIT.done;
}

function printLine(event: WatchEvent): void {
  const line = event.event === 'pushed' ? { event: event.event, ...toJson(event.pushed) } : event;
  print(escapeJson(JSON.stringify(line)));
}

function formatUnfinished({ source, message }: Extract<WatchEvent, { event: 'unfinished' }>): string {
  const why = message === null ? '' : `: ${message}`;
  return `${source} is still no whole signature after ten seconds; it is sent as soon as it is one${why}`;
}

function createTeller(server: string): (event: WatchEvent) => void {
  const tally = createTally();
  const hidden = new Set<string>();
  let hasMisrooted = false;
  const note = (text: string) => process.stderr.write(`lookaside: ${escapeTerminal(text)}\n`);

  const tellPushed = (pushed: PushedImage) => {
    tally.add(pushed);
    // nobody waits for lines about existing signatures, and at each start nearly all exist already
    if (pushed.files.every(({ outcome }) => outcome.result === 'there')) return;
    print(formatImage(pushed, hidden));
    for (const { source } of pushed.files) hidden.delete(source);
    if (!hasMisrooted && isMisrooted(pushed)) note(MISROOTED);
    hasMisrooted ||= isMisrooted(pushed);
  };

  return (event) => {
    switch (event.event) {
      case 'watching': {
        const { sent, there, equivalent } = tally.counts();
        const before = `${plural(sent, 'signature')} sent, ${there + equivalent} there already`;
        print(escapeTerminal(`watching ${event.roots.join(', ')} for ${server}; ${before}`));
        return;
      }
      case 'pushed':
        return tellPushed(event.pushed);
      case 'gap':
        for (const source of behindGaps([event.gap])) hidden.add(source);
        return;
      case 'unfinished':
        note(formatUnfinished(event));
        return;
      case 'problem':
        note(formatProblem(event.problem));
        return;
      case 'away':
        note(`${event.message}; trying again until it is taken`);
        return;
      case 'back':
        note(`${server} answers again`);
        return;
      case 'root-away':
        note(`${event.message}; waiting for it`);
        return;
      case 'root-back':
        note(`${event.root} is there again`);
        return;
      case 'polling':
        note(`${event.root} is looked through every few seconds from now on: ${event.message}`);
        return;
    }
  };
}
