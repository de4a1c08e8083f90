// The uploads that are under way, or were at a crash, as another process sees them.
import { type ImageId, imageKey } from '../domain/image.ts';
import { type Intent, parseIntent } from '../domain/intent.ts';

/**
 * The image's intents; their files may be in place already. Look up rows afterwards: an intent that has gone by then
 * has left its row. @throws LookasideError STORE_UNAVAILABLE
 */
export async function uploadsUnderWay(
  readIntents: () => Promise<readonly string[]>,
  image: ImageId,
): Promise<readonly Intent[]> {
  return (await readIntents()).flatMap((text) => {
    const intent = parseIntent(text);
    return intent !== null && imageKey(intent.image) === imageKey(image) ? [intent] : [];
  });
}
