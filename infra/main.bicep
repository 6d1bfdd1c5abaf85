// blobferry in Azure Functions: Flex Consumption with a custom handler, one user-assigned identity, no keys.
// Scope: a resource group. Not compiled or deployed by the project's tests, which have no Azure: they check
// that it parses and that every name it uses is declared.

@minLength(1)
@maxLength(40)
@description('Name of this environment; names of resources are made of it.')
param environmentName string

@description('Region; Flex Consumption must be offered there.')
param location string = resourceGroup().location

@description('When runs start: six fields (second first), UTC.')
param schedule string = '0 0 * * * *'

@description('Container that blobs go to.')
param landingContainer string = 'landing'

@description('Whether calls to servers leave by one fixed public address, for their allow-lists. Costs a NAT gateway.')
param fixedAddress bool = false

@description('Public IPv4 addresses and ranges that may reach the files and the vault. If there is one, all others are refused, but for the app, which then has a network and a NAT gateway, and for services that Azure trusts. If empty, network rules are left as they are.')
param allowedAddresses string[] = []

@allowed([512, 2048, 4096])
@description('Memory of an instance in MiB.')
param instanceMemory int = 2048

@minValue(1)
@maxValue(1000)
@description('Most instances at once. One timer needs one; the rest serves HTTP.')
param mostInstances int = 40

@minValue(0)
@maxValue(1000)
@description('Instances that stand ready for requests all the time, for a page that opens at once. Each costs by the hour.')
param readyInstances int = 0

@allowed(['Recreate', 'RollingUpdate'])
@description('What happens to runs in hand when code or settings change: they are ended (Recreate), or end by themselves within the hour that the platform gives them, whatever functionTimeout is (RollingUpdate).')
param siteUpdate string = 'Recreate'

@description('Version of the runtime `custom`. Public templates use 1.0, and Azure Resource Manager records that; the command line lists none.')
param runtimeVersion string = '1.0'

@description('App settings of your own, as Key Vault references: { ACME_PASSWORD: \'acme-password\' } sets ACME_PASSWORD to the secret acme-password of the vault.')
param vaultSettings { *: string } = {}

@description('Who gets a mail when a rule below fires; nobody, if empty: the rules then only show in the portal.')
param alertEmail string = ''

@minValue(1)
@description('Hours from a file\'s modified time to its being stored, beyond which a rule fires.')
param lagHours int = 24

@allowed([1, 2, 3, 4, 5, 6, 24, 48])
@description('Hours without any run that ended, after which a rule fires. More than two intervals of the schedule.')
param silenceHours int = 3

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
@description('How often the files are kept. Zones (ZRS, GZRS) need a region that has them.')
param landingSku string = 'Standard_ZRS'

@description('Whether the account with the files is locked against deletion. While it is, `azd down` deletes nothing at all. Setting it to false later does not remove the lock.')
param keepLanding bool = true

@description('Whether the key vault of an earlier deployment, deleted and not purged, is taken up again: after `azd down`.')
param recoverVault bool = false

var token = toLower(uniqueString(subscription().id, resourceGroup().id, environmentName))
var tags = { 'azd-env-name': environmentName }
var deploymentContainer = 'deployment'
var isClosed = !empty(allowedAddresses)
var hasNetwork = fixedAddress || isClosed
var appSubnet = '${network.id}/subnets/app'

// Roles by their ids, which are the same in every tenant.
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var tableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

// It exists before the app, so its roles hold when the app first starts.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-blobferry-${token}'
  location: location
  tags: tags
}

// --- Storage: one account for the Functions host, one for the files.

resource hostStorage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'sthost${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource deployment 'containers' = {
      name: deploymentContainer
    }
  }
}

resource landingStorage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'stland${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: landingSku }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    // Rules by address do not count for callers in the account's own region: the app comes by its subnet.
    networkAcls: isClosed ? {
      defaultAction: 'Deny'
      bypass: 'AzureServices'
      ipRules: map(allowedAddresses, one => { value: one, action: 'Allow' })
      virtualNetworkRules: [{ id: appSubnet, action: 'Allow' }]
    } : null
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      deleteRetentionPolicy: { enabled: true, days: 14 }
    }

    resource landing 'containers' = {
      name: landingContainer
    }
  }
}

resource landingLock 'Microsoft.Authorization/locks@2020-05-01' = if (keepLanding) {
  scope: landingStorage
  name: 'keep-files'
  properties: {
    level: 'CanNotDelete'
    notes: 'The files that blobferry brought are here. Remove this lock (keep-files) before you delete them.'
  }
}

resource hostBlobRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostStorage
  name: guid(hostStorage.id, identity.id, blobDataOwner)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
  }
}

resource hostQueueRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostStorage
  name: guid(hostStorage.id, identity.id, queueDataContributor)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}

// The host keeps its diagnostic events in a table.
resource hostTableRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostStorage
  name: guid(hostStorage.id, identity.id, tableDataContributor)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
  }
}

// The container alone, not the account.
resource landingRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: landingStorage::blobs::landing
  name: guid(landingStorage::blobs::landing.id, identity.id, blobDataContributor)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// --- Secrets of the sources.

// All older versions of this interface end on 27 February 2027.
resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: 'kv${token}'
  location: location
  tags: tags
  properties: {
    createMode: recoverVault ? 'recover' : 'default'
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    networkAcls: isClosed ? {
      defaultAction: 'Deny'
      bypass: 'AzureServices'
      ipRules: map(allowedAddresses, one => { value: one })
      virtualNetworkRules: [{ id: appSubnet }]
    } : null
  }
}

resource vaultRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, identity.id, keyVaultSecretsUser)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
  }
}

// --- Watching it.

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'log-blobferry-${token}'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-blobferry-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

resource insightsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, identity.id, monitoringMetricsPublisher)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(insights.id, 'blobferry')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'blobferry: files, failures, lag'
    category: 'workbook'
    sourceId: insights.id
    serializedData: loadTextContent('workbook.json')
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: 'ag-blobferry-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'blobferry'
    enabled: true
    emailReceivers: [{ name: 'operators', emailAddress: alertEmail, useCommonAlertSchema: true }]
  }
}

var told = empty(alertEmail) ? [] : [people.id]

resource wentWrong 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: 'blobferry-run-went-wrong-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'blobferry: a run went wrong'
    description: 'A run failed, was broken off, or something of it did not arrive. docs/operations.md tells what to do.'
    severity: 2
    enabled: true
    scopes: [insights.id]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: loadTextContent('queries/runs-that-went-wrong.kql')
          metricMeasureColumn: 'runs'
          timeAggregation: 'Total'
          dimensions: [{ name: 'status', operator: 'Include', values: ['*'] }]
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    actions: { actionGroups: told }
  }
}

resource late 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: 'blobferry-lag-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'blobferry: files arrive late'
    description: 'Files of a source were stored later than they should be. A first run over old files fires it once.'
    severity: 3
    enabled: true
    scopes: [insights.id]
    evaluationFrequency: 'PT1H'
    windowSize: 'PT1H'
    criteria: {
      allOf: [
        {
          query: loadTextContent('queries/lag.kql')
          metricMeasureColumn: 'lag'
          timeAggregation: 'Maximum'
          dimensions: [{ name: 'source', operator: 'Include', values: ['*'] }]
          operator: 'GreaterThan'
          threshold: lagHours * 3600
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    actions: { actionGroups: told }
  }
}

resource silent 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: 'blobferry-no-run-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'blobferry: no run'
    description: 'No run has ended for hours: the schedule, the app or its telemetry stands still.'
    severity: 1
    enabled: true
    scopes: [insights.id]
    evaluationFrequency: 'PT1H'
    // The service takes whole days as days only, and nothing between six hours and a day.
    windowSize: silenceHours > 6 ? 'P${silenceHours / 24}D' : 'PT${silenceHours}H'
    criteria: {
      allOf: [
        {
          query: loadTextContent('queries/runs-that-ended.kql')
          metricMeasureColumn: 'runs'
          timeAggregation: 'Total'
          operator: 'LessThan'
          threshold: 1
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    actions: { actionGroups: told }
  }
}

resource missing 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: 'blobferry-expected-file-missing-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'blobferry: an expected file is missing'
    description: 'A file that `[[source.expect]]` names was late or missing when it was judged last. docs/landing-zone.md tells what to do.'
    severity: 2
    enabled: true
    scopes: [insights.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: loadTextContent('queries/expected-files-missing.kql')
          metricMeasureColumn: 'lacking'
          timeAggregation: 'Total'
          dimensions: [
            { name: 'source', operator: 'Include', values: ['*'] }
            { name: 'expectation', operator: 'Include', values: ['*'] }
          ]
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    actions: { actionGroups: told }
  }
}

// --- A network with one fixed address to the outside, if wanted, or needed for the rules above.

resource address 'Microsoft.Network/publicIPAddresses@2024-01-01' = if (hasNetwork) {
  name: 'pip-blobferry-${token}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: {
    publicIPAllocationMethod: 'Static'
    publicIPAddressVersion: 'IPv4'
  }
}

resource gateway 'Microsoft.Network/natGateways@2024-01-01' = if (hasNetwork) {
  name: 'ng-blobferry-${token}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: {
    // An FTP control connection is silent while a large file is on its way.
    idleTimeoutInMinutes: 120
    publicIpAddresses: [{ id: address.id }]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2024-01-01' = if (hasNetwork) {
  name: 'vnet-blobferry-${token}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.40.0.0/24'] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: '10.40.0.0/26'
          natGateway: { id: gateway.id }
          serviceEndpoints: isClosed ? [{ service: 'Microsoft.Storage' }, { service: 'Microsoft.KeyVault' }] : []
          delegations: [
            {
              name: 'functions'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
        }
      }
    ]
  }
}

// --- The app.

resource plan 'Microsoft.Web/serverfarms@2025-05-01' = {
  name: 'plan-blobferry-${token}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true }
}

// The account's name stands for the public cloud; elsewhere the host needs whole URLs.
var hostConnection = environment().name == 'AzureCloud' ? {
  AzureWebJobsStorage__accountName: hostStorage.name
} : {
  AzureWebJobsStorage__blobServiceUri: hostStorage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: hostStorage.properties.primaryEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: hostStorage.properties.primaryEndpoints.table
}

var ownSettings = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
  AZURE_CLIENT_ID: identity.properties.clientId
  INGEST_SCHEDULE: schedule
  INGEST_QUEUE: 'blobferry-work'
  // They override what ingest.toml says: the file need not know the account.
  BLOBFERRY__DESTINATION__ENDPOINT: landingStorage.properties.primaryEndpoints.blob
  BLOBFERRY__DESTINATION__CONTAINER: landingContainer
  // The allocator gives freed memory back after so many milliseconds; of itself it keeps it for a second.
  MIMALLOC_PURGE_DELAY: '10'
  // It is the default in Azure; said here, it does not depend on how the platform tells of itself.
  BLOBFERRY__DISPATCH__MODE: 'queue'
}

var references = reduce(
  items(vaultSettings),
  {},
  (all, setting) => union(all, { '${setting.key}': '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${setting.value})' })
)

resource app 'Microsoft.Web/sites@2025-05-01' = {
  name: 'func-blobferry-${token}'
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    virtualNetworkSubnetId: hasNetwork ? appSubnet : null
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostStorage.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: {
        maximumInstanceCount: mostInstances
        instanceMemoryMB: instanceMemory
        alwaysReady: readyInstances > 0 ? [{ name: 'http', instanceCount: readyInstances }] : []
      }
      siteUpdateStrategy: {
        type: siteUpdate
      }
      runtime: {
        name: 'custom'
        version: runtimeVersion
      }
    }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: union(hostConnection, ownSettings, references)
  }

  // Roles first: an app that starts without them fails its first minutes.
  dependsOn: [hostBlobRole, hostQueueRole, hostTableRole, landingRole, vaultRole, insightsRole, hostStorage::blobs::deployment]
}

output AZURE_RESOURCE_GROUP string = resourceGroup().name
output AZURE_FUNCTION_NAME string = app.name
output AZURE_FUNCTION_HOST string = app.properties.defaultHostName
output AZURE_KEY_VAULT_NAME string = vault.name
output BLOBFERRY_ACCOUNT string = landingStorage.name
output BLOBFERRY_ADDRESS string = hasNetwork ? address!.properties.ipAddress : ''
