/** What certificates are ordered with: the authority, this estate's account there, and where keys and orders are kept. */

import { readFileSync } from 'node:fs'
import { openMoveStore } from './cutover/store.ts'
import type { Opened } from './script.ts'
import type { CertificateDeps } from './steps/dns-certificate.ts'

type Ordering = Pick<CertificateDeps, 'acme' | 'store' | 'email' | 'makeKey'>

export async function orderingOf({
  estate,
  composition,
  directory,
}: Pick<Opened, 'estate' | 'composition' | 'directory'>): Promise<Ordering> {
  const { context, environment } = composition.parts
  const store = openMoveStore(directory)
  const { generateKey } = await import('./providers/acme/keys.ts')
  return {
    store,
    makeKey: generateKey,
    email: `admin@${estate.dns?.zone ?? ''}`,
    acme: async () => {
      const { createAcme, LETSENCRYPT_DIRECTORY } = await import('./providers/acme/acme.ts')
      const url = environment.acmeDirectoryUrl ?? LETSENCRYPT_DIRECTORY
      return createAcme({
        directory: url,
        accountKey: () => store.accountKey(new URL(url).href, () => generateKey('ACME account key')),
        ...(environment.caFile ? { caPem: readFileSync(environment.caFile, 'utf8') } : {}),
        context,
      })
    },
  }
}
