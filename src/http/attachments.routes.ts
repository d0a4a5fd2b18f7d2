/**
 * GET /attachments/{token}: one attachment, for whoever has the link. What was uploaded is never shown as a page
 * of this host: it downloads, without sniffing and without scripts.
 */
import { Readable } from 'node:stream';
import type { AttachmentService } from '../attachments/attachment.service.js';
import { downloadDisposition } from '../attachments/attachment.js';
import type { RouteModule } from './ports.js';

export function attachmentRoutes(deps: { attachments: AttachmentService }): RouteModule {
  return {
    name: 'attachments',
    mount: 'v1',
    register(app) {
      app.get<{ Params: { token: string } }>(
        '/attachments/:token',
        { config: { access: 'public' } },
        async (request, reply) => {
          const { attachment, chunks } = await deps.attachments.open(request.params.token, {
            requestId: request.id,
            via: 'link',
            name: `${request.method} /attachments/:token`,
          });
          void reply
            .header('content-type', attachment.mimeType)
            .header('content-length', attachment.size)
            .header('content-disposition', downloadDisposition(attachment.name))
            .header('x-content-type-options', 'nosniff')
            .header('content-security-policy', "sandbox; default-src 'none'")
            .header('cache-control', 'private, max-age=3600');
          if (request.method === 'HEAD') return reply.send();
          return reply.send(Readable.from(chunks));
        },
      );
    },
  };
}
