// `node --import` of this starts a server of ours that records no reads, so that what the record costs is the difference.
import { register } from 'node:module';

const WANTED = 'export function createAccessRecorder(';

const hook = `
export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (!url.endsWith('/dist/src/service/access.js')) return loaded;
  const source = String(loaded.source);
  if (!source.includes(${JSON.stringify(WANTED)})) throw new Error('bench/without-record.mjs does not know ' + url + ' any more');
  return {
    ...loaded,
    source: source.replace(${JSON.stringify(WANTED)}, 'function createRealRecorder(') + \`
export function createAccessRecorder(options) {
  return Object.create(createRealRecorder(options), { record: { value() {} } });
}\`,
  };
}`;

register(`data:text/javascript,${encodeURIComponent(hook)}`);
