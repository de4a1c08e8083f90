// What orchestrators and Prometheus ask. Always open; says nothing about what is stored.
import { jsonReply, type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const open = { ...NO_BODY, methods: ['GET', 'HEAD'], roles: 'open' } as const;

export const livez: RouteSpec = {
  ...open,
  name: 'livez',
  path: '/livez',
  route: async () => textReply(200, 'ok\n'),
};
export const readyz: RouteSpec = { ...open, name: 'readyz', path: '/readyz', route: ready };
export const healthz: RouteSpec = { ...open, name: 'readyz', path: '/healthz', route: ready };
export const metrics: RouteSpec = { ...open, name: 'metrics', path: '/metrics', route: showMetrics };

async function ready(services: Services, { query }: RouteRequest): Promise<Reply> {
  const health = await services.health();
  const asked = query.get('for') === 'writes' ? health.writes : health.reads;
  return jsonReply(asked === 'ok' ? 200 : 503, health);
}

async function showMetrics(services: Services): Promise<Reply> {
  const { text, contentType } = await services.metrics.render();
  return textReply(200, text, { 'Content-Type': contentType });
}
