// Prints, as one binary FileDescriptorSet, what the pinned lnd says on the wire: the
// files that our own protos are written after, and all that they import, each after its
// imports. The regtest suite holds our protos against it.
package main

import (
	"log"
	"os"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/lightningnetwork/lnd/lnrpc/chainrpc"
	"github.com/lightningnetwork/lnd/lnrpc/invoicesrpc"
	"github.com/lightningnetwork/lnd/lnrpc/routerrpc"
	"github.com/lightningnetwork/lnd/lnrpc/signrpc"
	"github.com/lightningnetwork/lnd/lnrpc/walletrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	set := &descriptorpb.FileDescriptorSet{}
	seen := make(map[string]bool)

	for _, file := range []protoreflect.FileDescriptor{
		lnrpc.File_lightning_proto,
		lnrpc.File_stateservice_proto,
		routerrpc.File_routerrpc_router_proto,
		invoicesrpc.File_invoicesrpc_invoices_proto,
		chainrpc.File_chainrpc_chainnotifier_proto,
		walletrpc.File_walletrpc_walletkit_proto,
		signrpc.File_signrpc_signer_proto,
	} {
		add(set, seen, file)
	}

	encoded, err := proto.Marshal(set)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(encoded); err != nil {
		log.Fatal(err)
	}
}

// add appends file to set, after the files that it imports, each of them once.
func add(set *descriptorpb.FileDescriptorSet, seen map[string]bool,
	file protoreflect.FileDescriptor) {

	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true

	imports := file.Imports()
	for i := range imports.Len() {
		add(set, seen, imports.Get(i).FileDescriptor)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}
