# The server's secret; `yamabiko dev` prints its own
export YAMABIKO__AUTH__SECRET=…

# Print a token for a user
yamabiko token --id 7 --name Aoi --channel chat:default

# Publish as Laravel does
yamabiko publish chat:default '{"name":"Laravel","message":"Hello"}'

# Print the messages of a channel
yamabiko listen chat:default
