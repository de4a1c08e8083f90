// What the index may lack, in words for people.
import type { Database, Statement } from 'better-sqlite3';

export class IndexGaps {
  readonly #sites: Statement<[], { readonly name: string; readonly complete: 0 | 1 }>;
  readonly #unjudged: Statement<[string, number], number>;

  constructor(db: Database) {
    this.#sites = db.prepare('SELECT name, complete FROM site ORDER BY name');
    this.#unjudged = db
      .prepare<[string, number], number>(`
        SELECT count(*)
        FROM signature INDEXED BY signature_to_judge
        WHERE site = ? AND judge_at_ms <= ?`)
      .pluck();
  }

  /** Names of the sites, in their order. */
  sites(): readonly string[] {
    return this.#sites.all().map(({ name }) => name);
  }

  found(nowMs: number): readonly string[] {
    return this.#sites.all().flatMap(({ name: site, complete }) => {
      const unjudged = this.#unjudged.get(site, nowMs) ?? 0;
      return [
        ...(complete === 0 ? [`the tree of the site ${site} is not wholly indexed yet`] : []),
        ...(unjudged > 0
          ? [
              `${unjudged} ${unjudged === 1 ? 'signature' : 'signatures'} of the site ${site} not verified yet`,
            ]
          : []),
      ];
    });
  }
}
