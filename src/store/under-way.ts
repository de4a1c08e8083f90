// The uploads that are under way, or were at a crash, as whoever does not do them sees them.
import { type ImageId, imageKey } from '../domain/image.ts';
import { type Intent, parseIntent } from '../domain/intent.ts';

/**
 * Intents of the image: their files may be in place already. Rows are to be asked for afterwards: an intent that has
 * gone by then has left its row. @throws LookasideError STORE_UNAVAILABLE
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
