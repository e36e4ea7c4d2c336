/** Tokens that tell their service by their form, as the services document them. Protein sequences (capitals without digits) are of none of these forms. */
import type { SecretPattern } from './secrets.js'

/** A token of its own, not a part of a longer word. */
const token = (kind: string, form: string): SecretPattern => ({
  kind,
  pattern: new RegExp(`(?<![A-Za-z0-9])(?:${form})(?![A-Za-z0-9])`, 'dg'),
})

/** See {@link SecretPattern}. */
export const serviceTokenPatterns: readonly SecretPattern[] = [
  token('aws_access_key', '(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA|ANVA)(?=[A-Z]*[0-9BJOUXZ])[A-Z0-9]{16}'),
  token('gcp_api_key', 'AIza[\\w-]{35}'),
  token('gcp_oauth_token', 'ya29\\.[\\w-]{20,}'),
  token('google_client_secret', 'GOCSPX-[\\w-]{28}'),
  token('google_client_id', '\\d{6,14}-[a-z0-9]{32}\\.apps\\.googleusercontent\\.com'),
  token('azure_client_secret', '[\\w.~-]{3}\\dQ~[\\w.~-]{31,34}'),
  {
    kind: 'azure_storage_key',
    pattern: /\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|sig)=(?<secret>[\w%+/=-]{20,})/dgi,
  },
  token('github_token', 'gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\\w{22,255}'),
  token('gitlab_token', 'gl(?:pat|ptt|dt|rt|cbt|ft|imt|agent|oas|soat)-[\\w.-]{20,}|GR1348941[\\w-]{20}'),
  token('bitbucket_token', 'ATBB[A-Za-z0-9]{32}'),
  token('slack_token', 'xox[a-z](?:\\.xox[a-z])?-[\\w-]{10,}|xapp-\\d-[\\w-]{10,}'),
  token('huggingface_token', '(?:hf|api_org)_[A-Za-z0-9]{30,}'),
  token('anthropic_key', 'sk-ant-[\\w-]{20,}'),
  token('openai_key', 'sk-(?:proj-|svcacct-|admin-|None-|or-v1-)[\\w-]{20,}|sk-[A-Za-z0-9]{32,}'),
  token(
    'ai_service_key',
    'gsk_[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37}|pplx-[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|lsv2_(?:pt|sk)_[a-f0-9_]{32,}|jina_[\\w-]{40,}|nvapi-[\\w-]{40,}|co_[A-Za-z0-9]{36,}|KGAT_[a-f0-9]{32}',
  ),
  token('npm_token', 'npm_[A-Za-z0-9]{36}'),
  token('pypi_token', 'pypi-(?=[\\w-]*[A-Z])(?=[\\w-]*\\d)[\\w-]{30,}'),
  token('rubygems_token', 'rubygems_[a-f0-9]{48}'),
  token('stripe_key', '(?:sk|rk|pk)_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{20,}'),
  token('twilio_key', '(?:AC|SK)[a-f0-9]{32}'),
  token('sendgrid_key', 'SG\\.[\\w-]{16,}\\.[\\w-]{32,}'),
  token('mailgun_key', '(?:key|pubkey)-[a-f0-9]{32}'),
  token('mailchimp_key', '[a-f0-9]{32}-us\\d{1,2}'),
  token('telegram_token', '\\d{8,10}:AA[\\w-]{32,34}'),
  token('discord_token', '[MNO][\\w-]{23,27}\\.[\\w-]{6}\\.[\\w-]{27,45}|mfa\\.[\\w-]{80,}'),
  token('wandb_key', 'wandb_v\\d_[\\w-]{20,}|local-[a-f0-9]{40}'),
  token('databricks_token', 'dapi[a-f0-9]{32}(?:-\\d+)?|dose[a-f0-9]{32}'),
  token('digitalocean_token', 'do[opr]_v1_[a-f0-9]{64}'),
  token('heroku_key', 'HRKU-[\\w-]{20,}'),
  token('shopify_token', 'shp(?:at|ca|pa|ss|tka)_[A-Fa-f0-9]{32}'),
  token('square_token', 'sq0[a-z]{3}-[\\w-]{22,43}|EAAA(?=[\\w-]*\\d)(?=[\\w-]*[a-z])[\\w-]{60}'),
  token('facebook_token', 'EAA(?=[A-Za-z]*\\d)(?=[A-Z0-9]*[a-z])[A-Za-z0-9]{90,}'),
  token('docker_token', 'dckr_(?:pat|oat)_[\\w-]{20,}'),
  token('vault_token', 'hv[sbr]\\.[\\w-]{24,}'),
  token('kubernetes_bootstrap_token', '(?=[a-z]*\\d)[a-z0-9]{6}\\.(?=[a-z]*\\d)[a-z0-9]{16}(?=\\s|$)'),
  token('terraform_token', '[A-Za-z0-9]{14}\\.atlasv1\\.[\\w-]{60,}'),
  token('grafana_token', 'gl(?:sa|c)_[A-Za-z0-9+/=_]{32,}'),
  token('new_relic_key', 'NR(?:AK|JS|II|RA|SP)-[A-Za-z0-9-]{16,}'),
  token('sentry_token', 'sntry[su]_[\\w+/=-]{40,}'),
  token('postman_key', 'PMAK-[a-f0-9]{24}-[a-f0-9]{34}'),
  token('atlassian_token', 'ATATT3[\\w=-]{50,}|ATCTT3[\\w=-]{50,}'),
  token(
    'workspace_token',
    'lin_(?:api|oauth)_[A-Za-z0-9]{32,}|ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}|figd_[\\w-]{40,}',
  ),
  token('dropbox_token', 'sl\\.[\\w-]{60,}'),
  token('artifactory_token', 'AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{59}'),
  token('age_key', 'AGE-SECRET-KEY-1[A-Z0-9]{58}'),
  token('alibaba_key', 'LTAI(?=[A-Z]*[a-z0-9])[A-Za-z0-9]{12,20}'),
]
