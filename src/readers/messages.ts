// What the process that owns the data directory and its reader processes say to each other. Between two processes messages come in
// the order in which they were sent.
import type { ImageId } from '../domain/image.ts';
import type { SetEntry } from '../domain/ports.ts';
import type { SitePlace } from '../domain/site.ts';
import type { CountsElsewhere } from '../http/request-counts.ts';
import type { PackedDays } from '../sqlite/packed-days.ts';
import type { Traffic } from './balance.ts';

/** What both sides must have alike. */
export interface ReaderState {
  readonly places: readonly SitePlace[];
  readonly prefix: string;
  readonly read: 'anonymous' | 'token';
  readonly accessLog: 'off' | 'combined' | 'json';
  /** As in LOOKASIDE_TRUSTED_PROXIES. */
  readonly trustedProxies: string;
  /** PEM; null: without TLS. */
  readonly tls: { readonly cert: Uint8Array; readonly key: Uint8Array } | null;
}

/** A set that is asked for. */
export interface Ask {
  readonly id: number;
  readonly image: ImageId;
  /** The number of the set that the reader has; null: it has none. */
  readonly known: number | null;
}

export type AskAnswer =
  | {
      readonly id: number;
      /** The number of this set, among all that the owner has sent. */
      readonly number: number;
      /** Null: the known set. */
      readonly entries: readonly SetEntry[] | null;
      /** How long it may be served; Infinity: until it is forgotten. */
      readonly holdsMs: number;
    }
  /** The store failed: the request is to be passed on. */
  | { readonly id: number; readonly failed: true };

export type ToReader =
  | {
      readonly kind: 'begin';
      readonly sockets: readonly number[];
      readonly passOnPath: string;
    }
  /** The answer to `begun`: all that changes from here on waits for this reader, so that it may answer. */
  | { readonly kind: 'listen'; readonly state: ReaderState }
  | { readonly kind: 'state'; readonly state: ReaderState }
  /** To be acknowledged. Null: any may have changed. */
  | { readonly kind: 'forget'; readonly number: number; readonly images: readonly ImageId[] | null }
  | { readonly kind: 'answers'; readonly answers: readonly AskAnswer[] }
  /** Whether the record of reads has no room. */
  | { readonly kind: 'full'; readonly isFull: boolean }
  | { readonly kind: 'written'; readonly id: number; readonly fault: string | null }
  | { readonly kind: 'flush'; readonly id: number }
  /** It answers much more than the others: of its connections, so many are to be ended. */
  | { readonly kind: 'let-go'; readonly connections: number }
  | { readonly kind: 'drain' }
  | { readonly kind: 'abort' };

export type FromReader =
  /** It can be told what is to be forgotten. */
  | { readonly kind: 'begun' }
  | { readonly kind: 'listening' }
  | { readonly kind: 'forgotten'; readonly number: number }
  | { readonly kind: 'asks'; readonly asks: readonly Ask[] }
  | { readonly kind: 'write'; readonly id: number; readonly days: PackedDays }
  | { readonly kind: 'report'; readonly report: Report }
  | { readonly kind: 'flushed'; readonly id: number }
  | { readonly kind: 'lines'; readonly lines: readonly string[] }
  | {
      readonly kind: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly message: string;
    }
  | { readonly kind: 'plain-http'; readonly address: string };

export interface Report {
  /** Since the report before. */
  readonly counts: CountsElsewhere;
  readonly buffer: { readonly rows: number; readonly dropped: number };
  readonly cache: CacheCounts;
  readonly traffic: Traffic;
}

export interface CacheCounts {
  readonly bytes: number;
  readonly sets: number;
  readonly hits: number;
  readonly misses: number;
}

/** File descriptors of a reader process: 0 to 2 as everywhere, then the channel for messages. */
export const FIRST_SOCKET = 4;
/** A reader reports so often. One that says nothing for long is ended and replaced. */
export const REPORT_EVERY_MS = 500;
