// Reads of signature-N that memory alone could not answer.
import { isLookasideError } from '../../domain/errors.ts';
import { renderSignatureError } from '../errors.ts';
import { noteRead, recordRead } from '../exchange.ts';
import { SIGNATURE_ROUTE } from '../hot-path.ts';
import type { Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { NOT_THERE, signatureReply } from '../signature-reply.ts';

/** What all reads of the tree have in common. */
export const READ = {
  ...NO_BODY,
  path: null,
  methods: ['GET', 'HEAD'],
  roles: 'reader',
  renderError: renderSignatureError,
} as const;

export const signature: RouteSpec = { ...READ, name: SIGNATURE_ROUTE, waits: 'long', route: serveSignature };

/** Every target that names nothing. */
export const nothing: RouteSpec = { ...READ, name: 'nothing', route: async () => NOT_THERE };

async function serveSignature(services: Services, { req, exchange }: RouteRequest): Promise<Reply> {
  const { target } = exchange;
  if (target.kind !== 'signature') return NOT_THERE;
  const { image, number } = target;
  try {
    if (exchange.readFailure !== undefined) throw exchange.readFailure.error;
    const signature = number === null ? null : await services.reader.readSignature(image, number);
    const reply = signature === null ? NOT_THERE : signatureReply(req, signature.entry, signature.bytes);
    const imageIsSigned = signature !== null || (await services.reader.readSet(image)).entries.length > 0;
    const bytes =
      reply.status === 200 && req.method === 'GET' && signature !== null ? signature.bytes.length : 0;
    const signatureSha256 = signature?.entry.sha256 ?? null;
    const { status } = reply;
    recordRead(services, req, exchange, { image, number, signatureSha256, imageIsSigned, status, bytes });
    return reply;
  } catch (error) {
    services.metrics.read(image.site, 'error'); // nothing was fetched, and nothing is known of the image
    // asked for in vain: mirror sync --from-misses reads it
    if (isLookasideError(error, 'UPSTREAM_UNAVAILABLE'))
      noteRead(services, req, exchange, {
        image,
        number,
        signatureSha256: null,
        imageIsSigned: true, // perhaps: it must not count as one without a signature
        status: 503,
        bytes: 0,
      });
    throw error;
  }
}
