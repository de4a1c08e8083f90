// Which images of a batch are whole: no part that is still being examined can belong to them.
import { isLookasideError, type LookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey } from '../domain/image.ts';
import { imageNamed } from '../domain/placement.ts';
import type { BatchPart } from '../domain/receipt.ts';

/** What the file name of a part says. */
export type PartName =
  | { readonly kind: 'image'; readonly image: ImageId; readonly key: string }
  /** Only its examination tells where it belongs, which may be any image. */
  | { readonly kind: 'none' }
  | { readonly kind: 'refused'; readonly refusal: LookasideError };

export function partNames(site: string, parts: readonly BatchPart[]): readonly PartName[] {
  return parts.map(({ fileName }) => (fileName === null ? { kind: 'none' } : partName(site, fileName)));
}

function partName(site: string, fileName: string): PartName {
  try {
    const image = imageNamed(site, fileName);
    return image === null ? { kind: 'none' } : { kind: 'image', image, key: imageKey(image) };
  } catch (refusal) {
    if (isLookasideError(refusal)) return { kind: 'refused', refusal };
    throw refusal;
  }
}

/** Null when there is none. @throws the refusal of the name */
export function imageOfName(name: PartName | undefined): ImageId | null {
  if (name?.kind === 'refused') throw name.refusal;
  return name?.kind === 'image' ? name.image : null;
}

export interface Examined<T> {
  /** Its imageKey(). */
  readonly image: string;
  readonly item: T;
}

export interface WholeImages<T> {
  /**
   * Call it for each part in their order; null: nothing of it is stored. The images that are whole from now on, each with its
   * items in the order of the parts.
   */
  next(examined: Examined<T> | null): readonly (readonly T[])[];
}

export function createWholeImages<T>(names: readonly PartName[]): WholeImages<T> {
  const lastOf = new Map<string, number>();
  for (const [position, name] of names.entries()) if (name.kind === 'image') lastOf.set(name.key, position);
  const lastNameless = names.findLastIndex(({ kind }) => kind === 'none');
  const open = new Map<string, T[]>();
  let position = -1;

  function take(image: string): readonly (readonly T[])[] {
    const items = open.get(image);
    open.delete(image);
    return items === undefined ? [] : [items];
  }

  return {
    next(examined) {
      position += 1;
      if (examined !== null) {
        const items = open.get(examined.image) ?? [];
        items.push(examined.item);
        open.set(examined.image, items);
      }
      if (position < lastNameless) return [];
      const isWhole = (image: string) => (lastOf.get(image) ?? position) <= position;
      if (position === lastNameless) return [...open.keys()].filter(isWhole).flatMap(take);
      const name = names[position];
      return name?.kind === 'image' && isWhole(name.key) ? take(name.key) : [];
    },
  };
}
